#include "vmm/dev/ps2.h"

#include "arch/x86_64/include/bits.h"
#include "vmm/dev/split.h"

/* Status register, port 64 (IBM PS/2 Hardware Interface, "Keyboard and Auxiliary Device
 * Controller"). The input buffer is always empty: bytes are taken at once. */
#define STATUS_OBF BIT(0)
#define STATUS_SYS BIT(2)
#define STATUS_COMMAND BIT(3)
#define STATUS_UNLOCKED BIT(4)
#define STATUS_TIMEOUT BIT(6)

/* The command byte. */
#define CB_KBD_INT BIT(0)
#define CB_AUX_INT BIT(1)
#define CB_SYS BIT(2)
#define CB_KBD_OFF BIT(4)
#define CB_AUX_OFF BIT(5)
#define CB_TRANSLATE BIT(6)
#define CB_WRITABLE (BIT(7) | CB_TRANSLATE | CB_KBD_OFF | BIT(3) | CB_SYS | CB_KBD_INT)

/* Controller commands, port 64. */
enum {
	CMD_READ_RAM = 0x20,  /* to 3f */
	CMD_WRITE_RAM = 0x60, /* to 7f */
	CMD_TEST_PASSWORD = 0xa4,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab,
	CMD_KBD_OFF = 0xad,
	CMD_KBD_ON = 0xae,
	CMD_READ_INPUT = 0xc0,
	CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1,
	CMD_WRITE_KBD_OBF = 0xd2,
	CMD_WRITE_AUX_OBF = 0xd3,
	CMD_WRITE_AUX = 0xd4,
	CMD_A20_OFF = 0xdd,
	CMD_A20_ON = 0xdf,
	CMD_PULSE = 0xf0, /* to ff: a 0 in bits 3-0 pulls that line of the output port */
};

#define REPLY_NO_PASSWORD 0xf1
#define REPLY_SELF_TEST_OK 0x55
#define REPLY_KBD_TEST_OK 0x00
#define REPLY_AUX_TEST_BAD 0x01 /* clock line stuck low: nothing is there */
#define INPUT_UNLOCKED 0x80

/* The output port. */
#define OUTPUT_NOT_RESET BIT(0)
#define OUTPUT_A20 BIT(1)
#define OUTPUT_IRQ1 BIT(4)
#define OUTPUT_LINES (BITS(7, 6) | OUTPUT_A20 | OUTPUT_NOT_RESET)

#define PORT92_RESET BIT(0)
#define PORT92_A20 BIT(1)

/* Keyboard commands and answers, port 60. */
enum {
	KBD_SET_LEDS = 0xed,
	KBD_ECHO = 0xee,
	KBD_SCAN_SET = 0xf0,
	KBD_IDENTIFY = 0xf2,
	KBD_TYPEMATIC = 0xf3,
	KBD_ENABLE = 0xf4,
	KBD_DISABLE = 0xf5,
	KBD_DEFAULTS = 0xf6,
	KBD_ALL_KEYS_FIRST = 0xf7, /* to fa: modes of all keys, set 3 */
	KBD_ALL_KEYS_LAST = 0xfa,
	KBD_KEY_FIRST = 0xfb, /* to fd: modes of one key, set 3 */
	KBD_KEY_LAST = 0xfd,
	KBD_RESEND = 0xfe,
	KBD_RESET = 0xff,
};
#define KBD_ACK 0xfa
#define KBD_BAT_OK 0xaa
#define KBD_ID_1 0xab
#define KBD_ID_2 0x83

/* --- the output buffer --- */

static void ps2_update_irq(struct ps2 *ps2)
{
	irq_line_set(&ps2->irq, ps2->full && (ps2->ram[0] & CB_KBD_INT));
}

/* Scan set 2 to set 1, for the few bytes that a keyboard without keys sends. */
static uint8_t ps2_translate(const struct ps2 *ps2, uint8_t byte)
{
	if (!(ps2->ram[0] & CB_TRANSLATE))
		return byte;
	switch (byte) {
	case 0x01:
		return 0x43;
	case 0x02:
		return 0x41;
	case 0x03:
		return 0x3f;
	case KBD_ID_2:
		return 0x41;
	default:
		return byte;
	}
}

/* If the output buffer is empty, put the next byte into it: the controller's first. */
static void ps2_fill(struct ps2 *ps2)
{
	if (ps2->full)
		return;
	if (ps2->reply_waiting) {
		ps2->data = ps2->reply;
		ps2->timeout = ps2->reply_timeout;
		ps2->reply_waiting = ps2->reply_timeout = false;
	} else if (ps2->count && !(ps2->ram[0] & CB_KBD_OFF)) {
		ps2->data = ps2_translate(ps2, ps2->queue[ps2->head]);
		ps2->head = (ps2->head + 1) % PS2_QUEUE;
		ps2->count--;
	} else {
		return;
	}
	ps2->full = true;
	ps2_update_irq(ps2);
}

static void ps2_reply(struct ps2 *ps2, uint8_t byte)
{
	ps2->reply = byte;
	ps2->reply_waiting = true;
	ps2_fill(ps2);
}

static uint8_t ps2_read_data(struct ps2 *ps2)
{
	uint8_t byte = ps2->data;

	if (!ps2->full)
		return byte;
	ps2->full = ps2->timeout = false;
	ps2_update_irq(ps2);
	ps2_fill(ps2);
	return byte;
}

/* --- the keyboard --- */

static void kbd_send(struct ps2 *ps2, uint8_t byte)
{
	if (ps2->count == PS2_QUEUE)
		return;
	ps2->queue[(ps2->head + ps2->count++) % PS2_QUEUE] = byte;
	ps2->last_sent = byte;
}

/* The byte that a command was waiting for. */
static void kbd_parameter(struct ps2 *ps2, uint8_t byte)
{
	uint8_t command = ps2->kbd_command;

	ps2->kbd_command = 0;
	if (command == KBD_SCAN_SET && byte > 3) {
		kbd_send(ps2, KBD_RESEND);
		return;
	}
	kbd_send(ps2, KBD_ACK);
	if (command != KBD_SCAN_SET)
		return;
	if (byte)
		ps2->scan_set = byte;
	else
		kbd_send(ps2, ps2->scan_set);
}

static void kbd_command(struct ps2 *ps2, uint8_t byte)
{
	switch (byte) {
	case KBD_ECHO:
		kbd_send(ps2, KBD_ECHO);
		break;
	case KBD_SET_LEDS:
	case KBD_SCAN_SET:
	case KBD_TYPEMATIC:
	case KBD_KEY_FIRST ... KBD_KEY_LAST:
		ps2->kbd_command = byte;
		kbd_send(ps2, KBD_ACK);
		break;
	case KBD_IDENTIFY:
		kbd_send(ps2, KBD_ACK);
		kbd_send(ps2, KBD_ID_1);
		kbd_send(ps2, KBD_ID_2);
		break;
	case KBD_DISABLE:
	case KBD_DEFAULTS:
		ps2->scan_set = 2;
		kbd_send(ps2, KBD_ACK);
		break;
	case KBD_ENABLE:
	case KBD_ALL_KEYS_FIRST ... KBD_ALL_KEYS_LAST:
		kbd_send(ps2, KBD_ACK);
		break;
	case KBD_RESEND:
		kbd_send(ps2, ps2->last_sent);
		break;
	case KBD_RESET:
		ps2->count = 0;
		ps2->scan_set = 2;
		kbd_send(ps2, KBD_ACK);
		kbd_send(ps2, KBD_BAT_OK);
		break;
	default:
		kbd_send(ps2, KBD_RESEND);
	}
}

static void kbd_write(struct ps2 *ps2, uint8_t byte)
{
	ps2->ram[0] &= ~CB_KBD_OFF; /* the controller lets the clock run to send */
	/* A new command ends one that waits for its byte; parameters are below ed. */
	if (ps2->kbd_command && byte < KBD_SET_LEDS) {
		kbd_parameter(ps2, byte);
	} else {
		ps2->kbd_command = 0;
		kbd_command(ps2, byte);
	}
	ps2_fill(ps2);
}

/* --- the controller --- */

static void ps2_write_output_port(struct ps2 *ps2, uint8_t val)
{
	ps2->output_port = val & OUTPUT_LINES;
	if (!(val & OUTPUT_NOT_RESET))
		ps2->reset(ps2->reset_ctx);
}

/* Bits of the command byte that a mouse port would have: off for good. */
static void ps2_write_ram(struct ps2 *ps2, unsigned at, uint8_t val)
{
	if (at) {
		ps2->ram[at] = val;
		return;
	}
	ps2->ram[0] = (val & CB_WRITABLE) | CB_AUX_OFF;
	ps2->status = val & CB_SYS ? ps2->status | STATUS_SYS : ps2->status & ~STATUS_SYS;
	ps2_update_irq(ps2);
	ps2_fill(ps2);
}

static void ps2_command(struct ps2 *ps2, uint8_t val)
{
	ps2->command = 0;
	switch (val) {
	case CMD_READ_RAM ... CMD_READ_RAM + 31:
		ps2_reply(ps2, ps2->ram[val & 31]);
		break;
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + 31:
	case CMD_WRITE_OUTPUT ... CMD_WRITE_AUX:
		ps2->command = val;
		break;
	case CMD_TEST_PASSWORD:
		ps2_reply(ps2, REPLY_NO_PASSWORD);
		break;
	case CMD_AUX_TEST:
		ps2_reply(ps2, REPLY_AUX_TEST_BAD);
		break;
	case CMD_SELF_TEST:
		ps2->status |= STATUS_SYS;
		ps2->ram[0] |= CB_SYS;
		ps2_reply(ps2, REPLY_SELF_TEST_OK);
		break;
	case CMD_KBD_TEST:
		ps2_reply(ps2, REPLY_KBD_TEST_OK);
		break;
	case CMD_KBD_OFF:
		ps2->ram[0] |= CB_KBD_OFF;
		break;
	case CMD_KBD_ON:
		ps2->ram[0] &= ~CB_KBD_OFF;
		ps2_fill(ps2);
		break;
	case CMD_READ_INPUT:
		ps2_reply(ps2, INPUT_UNLOCKED);
		break;
	case CMD_READ_OUTPUT:
		ps2_reply(ps2, ps2->output_port | (ps2->full ? OUTPUT_IRQ1 : 0));
		break;
	case CMD_A20_OFF:
		ps2->output_port &= ~OUTPUT_A20;
		break;
	case CMD_A20_ON:
		ps2->output_port |= OUTPUT_A20;
		break;
	case CMD_PULSE ... CMD_PULSE + 15:
		if (!(val & OUTPUT_NOT_RESET))
			ps2->reset(ps2->reset_ctx);
		break;
	}
}

/* A byte at port 60: for the controller's command, or for the keyboard. */
static void ps2_write_data(struct ps2 *ps2, uint8_t val)
{
	uint8_t command = ps2->command;

	ps2->command = 0;
	switch (command) {
	case 0:
		kbd_write(ps2, val);
		break;
	case CMD_WRITE_OUTPUT:
		ps2_write_output_port(ps2, val);
		break;
	case CMD_WRITE_KBD_OBF:
	case CMD_WRITE_AUX_OBF: /* without a mouse port, the byte has but one way */
		ps2_reply(ps2, val);
		break;
	case CMD_WRITE_AUX: /* nobody answers */
		ps2->reply_timeout = true;
		ps2_reply(ps2, KBD_RESEND);
		break;
	default:
		ps2_write_ram(ps2, command & 31, val);
	}
}

static void ps2_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct ps2 *ps2 = dev;

	(void)size;
	if (port & 4) {
		ps2->status |= STATUS_COMMAND;
		ps2_command(ps2, (uint8_t)val);
	} else {
		ps2->status &= ~STATUS_COMMAND;
		ps2_write_data(ps2, (uint8_t)val);
	}
}

static uint32_t ps2_in(void *dev, uint16_t port, unsigned size)
{
	struct ps2 *ps2 = dev;

	(void)size;
	if (!(port & 4))
		return ps2_read_data(ps2);
	return ps2->status | (ps2->full ? STATUS_OBF : 0) |
	       (ps2->full && ps2->timeout ? STATUS_TIMEOUT : 0);
}

static void port92_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct ps2 *ps2 = dev;
	bool reset = ~ps2->port92 & val & PORT92_RESET;

	(void)port;
	(void)size;
	ps2->port92 = val & PORT92_RESET;
	if (val & PORT92_A20)
		ps2->output_port |= OUTPUT_A20;
	else
		ps2->output_port &= ~OUTPUT_A20;
	if (reset)
		ps2->reset(ps2->reset_ctx);
}

static uint32_t port92_in(void *dev, uint16_t port, unsigned size)
{
	const struct ps2 *ps2 = dev;

	(void)port;
	(void)size;
	return ps2->port92 | (ps2->output_port & OUTPUT_A20 ? PORT92_A20 : 0);
}

const struct io_ops ps2_ops = { .in = ps2_in, .out = ps2_out };
const struct io_ops ps2_port92_ops = { .in = port92_in, .out = port92_out };

void ps2_init(struct ps2 *ps2, struct irq_line irq, void (*reset)(void *ctx), void *reset_ctx)
{
	*ps2 = (struct ps2){
		.irq = irq,
		.reset = reset,
		.reset_ctx = reset_ctx,
		.status = STATUS_UNLOCKED | STATUS_SYS,
		.output_port = OUTPUT_LINES,
		.scan_set = 2,
	};
	ps2->ram[0] = CB_TRANSLATE | CB_AUX_OFF | CB_SYS | CB_KBD_INT;
}
