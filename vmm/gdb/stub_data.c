/* GDB's commands for registers and memory. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/gdb/reader.h"
#include "vmm/gdb/stub_core.h"

#define CHUNK 64 /* memory is moved through buffers of this size */

/* --- registers --- */

static void put_register(struct gdb_stub *s, const struct gdb_reg_info *info)
{
	uint8_t val[GDB_REG_BYTES];

	memset(val, 0, sizeof(val));
	if (s->target->get_reg(s->thread, (enum gdb_reg)info->reg, val)) {
		gdb_put_hex(&s->link, val, info->size);
		return;
	}
	for (unsigned i = 0; i < info->size; i++)
		gdb_put_text(&s->link, "xx");
}

static const struct gdb_reg_info *reg_info(const struct gdb_stub *s, uint64_t number)
{
	enum gdb_arch arch = s->arch[GDB_PROCESS_OF(s->thread)];

	return number < UINT8_MAX ? gdb_reg_info(arch, (unsigned)number) : NULL;
}

void gdb_cmd_registers(struct gdb_stub *s, struct gdb_reader *r)
{
	const struct gdb_reg_info *info;

	(void)r;
	if (!gdb_has_thread(s))
		return;
	gdb_put_begin(&s->link);
	for (unsigned i = 0; (info = reg_info(s, i)); i++)
		put_register(s, info);
	gdb_put_end(&s->link);
}

/* Only what differs is written: most are as they were read, some cannot be written. */
static bool write_register(struct gdb_stub *s, const struct gdb_reg_info *info,
			   const uint8_t *bytes)
{
	uint8_t val[GDB_REG_BYTES];

	memset(val, 0, sizeof(val));
	if (!s->target->get_reg(s->thread, (enum gdb_reg)info->reg, val))
		return false;
	if (!memcmp(val, bytes, info->size))
		return true;
	memcpy(val, bytes, info->size);
	return s->target->set_reg(s->thread, (enum gdb_reg)info->reg, val);
}

/* A register's bytes, or as many "xx" where it is to stay as it is: *change. False: neither. */
static bool take_register(struct gdb_reader *r, const struct gdb_reg_info *info,
			  uint8_t val[GDB_REG_BYTES], bool *change)
{
	unsigned n = 0;

	while (n < info->size && gdb_take_text(r, "xx"))
		n++;
	*change = !n;
	return n == info->size || (!n && gdb_take_bytes(r, val, info->size));
}

/* Are these all registers, and nothing else? */
static bool are_registers(const struct gdb_stub *s, struct gdb_reader r)
{
	const struct gdb_reg_info *info;
	uint8_t val[GDB_REG_BYTES];
	bool change;

	for (unsigned i = 0; (info = reg_info(s, i)); i++)
		if (!take_register(&r, info, val, &change))
			return false;
	return gdb_at_end(&r);
}

void gdb_cmd_set_registers(struct gdb_stub *s, struct gdb_reader *r)
{
	const struct gdb_reg_info *info;
	uint8_t val[GDB_REG_BYTES];
	bool ok = true, change;

	if (!gdb_has_thread(s))
		return;
	if (!are_registers(s, *r)) {
		gdb_reply_wrong(s);
		return;
	}
	for (unsigned i = 0; (info = reg_info(s, i)); i++)
		if (take_register(r, info, val, &change) && change)
			ok = write_register(s, info, val) && ok;
	gdb_reply_status(s, ok ? 0 : -EINVAL);
}

void gdb_cmd_register(struct gdb_stub *s, struct gdb_reader *r)
{
	const struct gdb_reg_info *info = NULL;
	uint64_t number;

	if (!gdb_has_thread(s))
		return;
	if (gdb_take_number(r, &number) && gdb_at_end(r))
		info = reg_info(s, number);
	if (!info) {
		gdb_reply_wrong(s);
		return;
	}
	gdb_put_begin(&s->link);
	put_register(s, info);
	gdb_put_end(&s->link);
}

void gdb_cmd_set_register(struct gdb_stub *s, struct gdb_reader *r)
{
	const struct gdb_reg_info *info = NULL;
	uint8_t val[GDB_REG_BYTES];
	uint64_t number;

	if (!gdb_has_thread(s))
		return;
	if (gdb_take_number(r, &number) && gdb_take_char(r, '='))
		info = reg_info(s, number);
	if (info && gdb_take_bytes(r, val, info->size) && gdb_at_end(r) &&
	    write_register(s, info, val))
		gdb_reply(s, "OK");
	else
		gdb_reply_wrong(s);
}

/* --- memory --- */

void gdb_cmd_read(struct gdb_stub *s, struct gdb_reader *r)
{
	uint64_t at, wanted;
	uint8_t buf[CHUNK];
	size_t done = 0, n, got;

	if (!gdb_take_pair(r, &at, &wanted) || !gdb_at_end(r)) {
		gdb_reply_wrong(s);
		return;
	}
	if (!gdb_has_thread(s))
		return;
	wanted = MIN(wanted, GDB_PACKET_MAX / 2 - 1u);
	gdb_put_begin(&s->link);
	do {
		n = (size_t)MIN(wanted - done, sizeof(buf));
		got = s->target->read(s->thread, at + done, buf, n);
		gdb_put_hex(&s->link, buf, got);
		done += got;
	} while (got == n && done < wanted);
	gdb_put_end(&s->link);
	if (wanted && !done)
		gdb_reply_status(s, -EFAULT);
}

/* Are these so many bytes, and nothing else? */
static bool are_bytes(struct gdb_reader r, uint64_t n)
{
	uint8_t byte;

	while (n && gdb_take_bytes(&r, &byte, 1))
		n--;
	return !n && gdb_at_end(&r);
}

void gdb_cmd_write(struct gdb_stub *s, struct gdb_reader *r)
{
	uint64_t at, left;
	uint8_t buf[CHUNK];

	if (!gdb_take_pair(r, &at, &left) || !gdb_take_char(r, ':') || !are_bytes(*r, left)) {
		gdb_reply_wrong(s);
		return;
	}
	if (!gdb_has_thread(s))
		return;
	while (left) {
		size_t n = (size_t)MIN(left, sizeof(buf));

		gdb_take_bytes(r, buf, n);
		if (s->target->write(s->thread, at, buf, n) < n) {
			gdb_reply_status(s, -EFAULT);
			return;
		}
		at += n;
		left -= n;
	}
	gdb_reply(s, "OK");
}

/* The bytes as they are. With none, GDB asks whether the command is there. */
void gdb_cmd_write_binary(struct gdb_stub *s, struct gdb_reader *r)
{
	uint64_t at, n;

	if (!gdb_take_pair(r, &at, &n) || !gdb_take_char(r, ':') ||
	    n != (uint64_t)(r->end - r->at)) {
		gdb_reply_wrong(s);
		return;
	}
	if (gdb_has_thread(s))
		gdb_reply_status(s, s->target->write(s->thread, at, r->at, n) == n ? 0 : -EFAULT);
}
