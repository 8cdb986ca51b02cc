; A jump to an address where no memory is: a PC's bus reads as ones there, and ff ff is an
; invalid opcode. The VM may see that #UD, or Umbra may stop it and say why.
%include "guest.inc"
	GUEST
	IDT32 6, on_ud
	SAY "about to jump to unmapped memory"
	mov eax, 0xd0000000
	jmp eax
on_ud:
	mov eax, [esp]
	EXPECT eax, 0xd0000000
	SAY "invalid opcode at the unmapped address"
	EXIT EXIT_OK
	ROUTINES
