/* What a packet of GDB's says, read a piece at a time. */
#ifndef UMBRA_VMM_GDB_READER_H
#define UMBRA_VMM_GDB_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GDB_ANY UINT64_MAX

struct gdb_reader {
	const char *at, *end;
};

/* Each takes what it names, or says false; then only what was right of it is taken. */
bool gdb_take_char(struct gdb_reader *r, char c);
bool gdb_take_text(struct gdb_reader *r, const char *text);
/* Hexadecimal digits, 16 at most. */
bool gdb_take_number(struct gdb_reader *r, uint64_t *val);
/* Two digits a byte. */
bool gdb_take_bytes(struct gdb_reader *r, uint8_t *bytes, size_t n);
/* Two numbers and the comma between them. */
bool gdb_take_pair(struct gdb_reader *r, uint64_t *a, uint64_t *b);
/* THREAD or pPROCESS.THREAD or pPROCESS; GDB_ANY: one that is all, any, or not said. */
bool gdb_take_thread(struct gdb_reader *r, uint64_t *process, uint64_t *thread);

bool gdb_at_end(const struct gdb_reader *r);

#endif
