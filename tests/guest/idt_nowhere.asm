; An exception whose IDT lies where no memory is: all ones make no gate, not for #GP and not
; for #DF either.
%include "guest.inc"
	GUEST
	SAY "about to triple-fault"
	lidt [nowhere]
	ud2
	SAY "still alive"
	EXIT EXIT_WRONG
	section .data
nowhere: dw 0x7ff
	dd 0xd0000000
	ROUTINES
