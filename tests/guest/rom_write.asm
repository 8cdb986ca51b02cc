; Writes to the BIOS ROM in every size do nothing, and the guest goes on.
%include "guest.inc"
%define ROM 0xffff0
	GUEST
	mov edi, ROM
	mov ebp, [edi]
	mov eax, ebp
	not eax
	mov [edi], eax
	mov ebx, [edi]
	EXPECT ebx, ebp
	mov [edi], ax
	mov ebx, [edi]
	EXPECT ebx, ebp
	mov [edi], al
	mov ebx, [edi]
	EXPECT ebx, ebp
	not dword [edi]
	mov ebx, [edi]
	EXPECT ebx, ebp
	mov ecx, 4
	push edi
	rep stosd
	pop edi
	mov ebx, [edi]
	EXPECT ebx, ebp
	SAY "the ROM did not change"
	EXIT EXIT_OK
	ROUTINES
