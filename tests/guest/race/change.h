/* What changes to slots (change.c) and to units (unit.c) have in common. */
#ifndef UMBRA_TESTS_GUEST_RACE_CHANGE_H
#define UMBRA_TESTS_GUEST_RACE_CHANGE_H

#include "tests/guest/race/race.h"

#define PTE_AD ((uint64_t)(PTE_A | PTE_D))

/* Where what the slot's accesses see changes, and where it has changed for all. */
void slot_begin(struct slot *slot);
void slot_end(struct slot *slot);

/* Put an entry there; the old one. replace: with the A and D that that had in the end. */
uint64_t entry_exchange(volatile uint64_t *entry, uint64_t val);
uint64_t entry_replace(struct cpu *me, volatile uint64_t *entry, uint64_t val);

/* The bits of an entry. */
uint64_t page_rights(bool w, bool x);
/* A and D as they may be from the start; some of both. */
uint64_t some_ad(struct cpu *me);
uint64_t some_of_ad(struct cpu *me);

/* Write into a frame what the slot's accesses look for; its generation. */
uint64_t page_fill(struct slot *slot, uint64_t frame);
/* The slot has that frame now, which nobody has used yet. */
void slot_take(struct slot *slot, uint64_t frame, uint64_t gen, uint64_t ad);
/* The slot's entry is gone everywhere, and was this last: so is its frame. */
void slot_lose(struct cpu *me, struct slot *slot, uint64_t seen);
/* Has a write been tried since D was cleared, or is one? */
bool slot_tried(const struct slot *slot);
/* Before D is cleared, or another entry comes. */
void slot_forget_tries(struct slot *slot);
/* A or D were cleared, and are told to all; seen: what they were before or are since. */
void slot_start_ad(struct slot *slot, uint64_t cleared, uint64_t seen);

void slot_check_entry(const struct slot *slot, uint64_t expected, uint64_t seen);
/*
 * seen: the A and D that the slot's entry had until now, all of them. Each access of which it is
 * sure that it came after A was cleared has set it; each word that was changed has set D; where the
 * slot has an entry of its own (not a large page's), nothing else has.
 */
void slot_check_ad(const struct slot *slot, uint64_t seen);

#endif
