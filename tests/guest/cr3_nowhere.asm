; Page tables where no memory is: the next fetch faults, and so does all that follows.
%include "guest.inc"
	GUEST
	SAY "about to triple-fault"
	mov eax, cr4
	or eax, 1 << 4		; PSE: ffffffff is no page then
	mov cr4, eax
	mov eax, 0xd0000000
	mov cr3, eax
	mov eax, cr0
	or eax, 1 << 31
	mov cr0, eax
	SAY "still alive"
	EXIT EXIT_WRONG
	ROUTINES
