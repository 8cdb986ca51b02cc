; An invalid opcode with a handler for it: the guest sees #UD at its address and goes on.
%include "guest.inc"
	GUEST
	IDT32 6, on_ud
bad:
	ud2
on_ud:
	mov eax, [esp]
	EXPECT eax, bad
	SAY "invalid opcode handled"
	EXIT EXIT_OK
	ROUTINES
