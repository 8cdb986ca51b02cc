; A breakpoint with an empty IDT: #GP, then a double fault, then shutdown.
%include "guest.inc"
	GUEST
	SAY "about to triple-fault"
	lidt [none]
	int3
	SAY "still alive"
	EXIT EXIT_WRONG
	section .data
none:	dw 0
	dd 0
	ROUTINES
