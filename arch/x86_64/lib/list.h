/* Intrusive doubly linked list with a head node. */
#ifndef UMBRA_LIST_H
#define UMBRA_LIST_H

#include <stdbool.h>

#include "arch/x86_64/include/bits.h"

struct list_node {
	struct list_node *next, *prev;
};

/* An empty list, or a node that is in none. */
static inline void list_init(struct list_node *head)
{
	head->next = head->prev = head;
}

/* Is there no node but the head? */
static inline bool list_empty(const struct list_node *head)
{
	return head->next == head;
}

/* Put n, which is in no list, before at; before the head is last. */
static inline void list_insert_before(struct list_node *at, struct list_node *n)
{
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}

/* n, which is in no list, becomes the last. */
static inline void list_push_back(struct list_node *head, struct list_node *n)
{
	list_insert_before(head, n);
}

/* n, which is in no list, becomes the first. */
static inline void list_push_front(struct list_node *head, struct list_node *n)
{
	list_insert_before(head->next, n);
}

/* Unlink n; it then is an empty list of its own, so that a second removal is harmless. */
static inline void list_remove(struct list_node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

#define list_for_each(pos, head)                                                                   \
	for (struct list_node * (pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

#endif
