/*
 * GDB's remote protocol, its lowest layer: packets on a line that may lose and spoil bytes.
 *
 *   $ payload # checksum     two hexadecimal digits: the sum of the payload's bytes
 *
 * In the payload } stands before a byte that was xored with 0x20. The receiver answers + (good)
 * or - (send it again). 0x03 between packets is an interrupt. All in bounded memory: nothing here
 * waits, the bytes come and go one at a time.
 */
#ifndef UMBRA_VMM_GDB_PACKET_H
#define UMBRA_VMM_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GDB_PACKET_MAX 4096 /* bytes of payload on the line, both ways */
#define GDB_ACKS_MAX 8
#define GDB_BREAK 0x03

enum gdb_event {
	GDB_NOTHING,
	GDB_PACKET,    /* in[] has a good one, until the next byte is taken */
	GDB_OVERLONG,  /* a good one came that is longer than in[] */
	GDB_INTERRUPT, /* the other side asks for a stop */
};

struct gdb_link {
	/* What comes. */
	enum { GDB_BETWEEN, GDB_BODY, GDB_ESCAPED, GDB_SUM_HIGH, GDB_SUM_LOW } state;
	uint8_t sum, sum_said;
	bool overlong;
	size_t in_len;
	char in[GDB_PACKET_MAX + 1]; /* a zero byte follows the payload */
	/* What goes. */
	bool acks;     /* + and - are used */
	bool acks_end; /* no longer, once the other side has this packet */
	unsigned nr_acks;
	char ack[GDB_ACKS_MAX]; /* before the packet */
	uint8_t out_sum;
	bool out_full; /* more was put than there is room for */
	size_t out_len, out_at;
	char out[GDB_PACKET_MAX + 4]; /* the last packet, for when it is asked for again */
};

/* Nothing has come, nothing waits to go; packets are acknowledged. */
void gdb_link_init(struct gdb_link *l);

/* Forget the packet that has begun to come. */
void gdb_link_drop(struct gdb_link *l);
/* Take a byte from the line. */
enum gdb_event gdb_link_take(struct gdb_link *l, uint8_t c);
/* The next byte for the line; -1: none now. */
int gdb_link_next(struct gdb_link *l);

/* Has the other side all that was sent to it? */
bool gdb_link_is_idle(const struct gdb_link *l);

/* Make a packet: begin, put bytes, end. It takes the place of the one before. What does not fit
 * makes it an error reply. */
void gdb_put_begin(struct gdb_link *l);
void gdb_put_byte(struct gdb_link *l, uint8_t c);
void gdb_put_text(struct gdb_link *l, const char *text);
void gdb_put_hex(struct gdb_link *l, const void *bytes, size_t n); /* two digits a byte */
void gdb_put_number(struct gdb_link *l, uint64_t val);             /* hexadecimal */
void gdb_put_end(struct gdb_link *l);

/* No acknowledgements any more, from when the packet at hand has its own. The first + of another
 * session brings them back. */
void gdb_link_end_acks(struct gdb_link *l);

/* The digit's value; -1: it is none. */
int gdb_hex_digit(char c);

#endif
