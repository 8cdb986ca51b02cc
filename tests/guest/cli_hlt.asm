; Halts for ever with interrupts off: only a reset or an NMI would wake it.
%include "guest.inc"
	GUEST
	SAY "halting with interrupts off"
	cli
	hlt
	SAY "woken"
	EXIT EXIT_WRONG
	ROUTINES
