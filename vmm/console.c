#include "vmm/console.h"

#include <stddef.h>

#include "arch/x86_64/console.h"
#include "arch/x86_64/include/bits.h"
#include "vmm/dev/pc.h"
#include "vmm/vm.h"

/* Room that must be there before those who wait for it are told: a UART's FIFO or two. */
#define ROOM_WORTH_TELLING 64

static void (*operator_input)(uint8_t c);
static struct vm *front;
static struct vm *writer; /* whose output came last; only compared */
static int held = -1;     /* typed, and not yet taken by the VM in front */
static uint64_t waiting;  /* bit n: VM n had a byte refused */
static struct vm *waiter[VM_MAX];
static_assert(VM_MAX <= 64, "one bit a VM in waiting");

/* Another VM's unfinished line is left alone; false: no room to do so. */
static bool begin_line(void)
{
	if (!console_line_open())
		return true;
	return console_space() >= 2 && console_try_putc('\r') && console_try_putc('\n');
}

bool console_vm_tx(struct vm *vm, uint8_t c)
{
	if ((vm == writer || begin_line()) && console_try_putc(c)) {
		writer = vm;
		return true;
	}
	waiting |= BIT(vm->id);
	waiter[vm->id] = vm;
	return false;
}

void console_set_operator(void (*input)(uint8_t c))
{
	operator_input = input;
}

void console_set_front(struct vm *vm)
{
	front = vm;
}

struct vm *console_front(void)
{
	return front;
}

void console_forget(struct vm *vm)
{
	waiting &= ~BIT(vm->id);
	if (front == vm) {
		front = NULL;
		held = -1;
	}
}

bool console_input_held(void)
{
	return held >= 0;
}

static void carry_input(void)
{
	for (;;) {
		if (held < 0)
			held = console_getc();
		if (held < 0)
			return;
		if (!front && operator_input)
			operator_input((uint8_t)held);
		else if (front && !pc_console_input(front, (uint8_t)held))
			return;
		held = -1;
	}
}

void console_work(void)
{
	carry_input();
	while (waiting && console_space() >= ROOM_WORTH_TELLING) {
		unsigned id = (unsigned)__builtin_ctzll(waiting);

		waiting &= waiting - 1;
		pc_console_ready(waiter[id]);
	}
}
