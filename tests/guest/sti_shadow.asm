; Interrupts and the instruction after STI: the timer must never come between the two, and
; STI; HLT must never sleep through a tick.
%include "guest.inc"

%define TICKS 3000
%define PIT_DIVISOR 596		; about 2 kHz

	GUEST
	IDT32 0x1f, on_stray	; loads segments; the gates that matter follow
	mov eax, on_tick
	mov [idt + 0x20 * 8], ax
	mov word [idt + 0x20 * 8 + 2], 8
	mov word [idt + 0x20 * 8 + 4], 0x8e00
	shr eax, 16
	mov [idt + 0x20 * 8 + 6], ax
	lidt [idtr]
	; The 8259s at 0x20 and 0x28, all but the timer masked.
%macro OUTB 2
	mov al, %2
	out %1, al
%endmacro
	OUTB 0x20, 0x11
	OUTB 0xa0, 0x11
	OUTB 0x21, 0x20
	OUTB 0xa1, 0x28
	OUTB 0x21, 0x04
	OUTB 0xa1, 0x02
	OUTB 0x21, 0x01
	OUTB 0xa1, 0x01
	OUTB 0x21, 0xfe
	OUTB 0xa1, 0xff
	OUTB 0x43, 0x34
	OUTB 0x40, PIT_DIVISOR & 0xff
	OUTB 0x40, PIT_DIVISOR >> 8

again:
	mov ecx, 40
busy:
	cli
	pause
	sti
shadow_nop:
	nop
	loop busy
	cli
	sti
shadow_hlt:
	hlt
	cmp dword [ticks], TICKS
	jb again
	cli
	SAY "3000 ticks, none in the shadow of STI"
	EXIT EXIT_OK

on_tick:
	push eax
	inc dword [ticks]
	mov eax, [esp + 4]
	cmp eax, shadow_nop
	je .bad
	cmp eax, shadow_hlt
	je .bad
	OUTB 0x20, 0x20
	pop eax
	iretd
.bad:
	mov ebx, [ticks]
	mov ecx, __?LINE?__
	jmp wrong

on_stray:
	SAY "a stray exception"
	EXIT EXIT_WRONG

	section .bss
	align 8
idt:	resb 0x21 * 8
	section .data
idtr:	dw 0x21 * 8 - 1
	dd idt
ticks:	dd 0

	section .text
	ROUTINES
