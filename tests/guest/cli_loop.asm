; Loops for ever with interrupts off: costs its own time, nobody else's.
%include "guest.inc"
	GUEST
	SAY "looping with interrupts off"
	cli
	jmp $
	ROUTINES
