#include "vmm/gdb/reader.h"

#include "arch/x86_64/lib/string.h"
#include "vmm/gdb/packet.h"

bool gdb_take_char(struct gdb_reader *r, char c)
{
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

bool gdb_take_text(struct gdb_reader *r, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(r->end - r->at) < n || memcmp(r->at, text, n) != 0)
		return false;
	r->at += n;
	return true;
}

bool gdb_at_end(const struct gdb_reader *r)
{
	return r->at == r->end;
}

bool gdb_take_number(struct gdb_reader *r, uint64_t *val)
{
	unsigned n;

	*val = 0;
	for (n = 0; r->at < r->end && gdb_hex_digit(*r->at) >= 0; n++, r->at++) {
		if (n == 16)
			return false;
		*val = *val << 4 | (unsigned)gdb_hex_digit(*r->at);
	}
	return n > 0;
}

bool gdb_take_bytes(struct gdb_reader *r, uint8_t *bytes, size_t n)
{
	for (; n--; bytes++, r->at += 2) {
		int high, low;

		if (r->end - r->at < 2)
			return false;
		high = gdb_hex_digit(r->at[0]);
		low = gdb_hex_digit(r->at[1]);
		if (high < 0 || low < 0)
			return false;
		*bytes = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool gdb_take_pair(struct gdb_reader *r, uint64_t *a, uint64_t *b)
{
	return gdb_take_number(r, a) && gdb_take_char(r, ',') && gdb_take_number(r, b);
}

/* -1 is all and 0 any: GDB_ANY. */
static bool take_id(struct gdb_reader *r, uint64_t *id)
{
	if (gdb_take_text(r, "-1")) {
		*id = GDB_ANY;
		return true;
	}
	if (!gdb_take_number(r, id))
		return false;
	if (!*id)
		*id = GDB_ANY;
	return true;
}

bool gdb_take_thread(struct gdb_reader *r, uint64_t *process, uint64_t *thread)
{
	*process = *thread = GDB_ANY;
	if (!gdb_take_char(r, 'p'))
		return take_id(r, thread);
	if (!take_id(r, process))
		return false;
	return !gdb_take_char(r, '.') || take_id(r, thread);
}
