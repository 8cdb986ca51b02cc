; What no device answers reads as ones and swallows writes: ports, memory, PCI functions.
%include "guest.inc"
%define PORT 0x5550
%define MMIO 0xd0000000
	GUEST
	mov dx, PORT
	xor eax, eax
	in al, dx
	EXPECT eax, 0xff
	xor eax, eax
	in ax, dx
	EXPECT eax, 0xffff
	xor eax, eax
	in eax, dx
	EXPECT eax, 0xffffffff
	out dx, al
	out dx, ax
	out dx, eax

	section .bss
	alignb 4
buffer:	resd 4
	section .text
	mov edi, buffer
	mov ecx, 4
	rep insd
	mov ecx, [buffer + 12]
	EXPECT ecx, 0xffffffff
	mov esi, buffer
	mov ecx, 4
	rep outsd

	movzx eax, byte [MMIO]
	EXPECT eax, 0xff
	movzx eax, word [MMIO + 2]
	EXPECT eax, 0xffff
	mov eax, [MMIO + 4]
	EXPECT eax, 0xffffffff
	mov dword [MMIO], 0x12345678
	mov eax, [MMIO]
	EXPECT eax, 0xffffffff

	fninit			; by the x87, too
	fild qword [MMIO]
	fistp dword [buffer]
	mov eax, [buffer]
	EXPECT eax, 0xffffffff	; -1
	fld1
	fstp tword [MMIO + 16]
	fld1
	fiadd dword [MMIO + 4]
	fistp word [buffer]
	movzx eax, word [buffer]
	EXPECT eax, 0		; 1 - 1
	fnstsw ax
	and eax, 0x38ff
	EXPECT eax, 0		; nothing raised, and no register in use

	mov dx, 0xcf8
	mov eax, 0x8000f800	; bus 0, device 31, function 0: the identity register
	out dx, eax
	mov dx, 0xcfc
	in eax, dx
	EXPECT eax, 0xffffffff
	SAY "absent devices read as ones"
	EXIT EXIT_OK
	ROUTINES
