; Registers, a stack and page tables with known values, for who looks at them from outside: 32-bit
; paging, 0 to 4 MiB by one large page, and page 0x400000 (0x200000 in memory), which is read-only.
%include "guest.inc"
	GUEST
	mov dword [directory], 0x83
	mov dword [directory + 4], table + 7
	mov dword [table], 0x200005
	mov dword [0x200010], 0x12345678
	mov dword [0x200014], "know"
	mov dword [0x200018], "n"
	mov eax, directory
	mov cr3, eax
	mov eax, cr4
	or eax, 0x10		; PSE
	mov cr4, eax
	mov eax, cr0
	or eax, 0x80010000	; PG, WP
	mov cr0, eax
	test dword [0x400010], 1
	SAY "the state is known"
	xor ebp, ebp
	call outer
outer:
	push ebp
	mov ebp, esp
	call inner
inner:
	push ebp
	mov ebp, esp
	mov eax, 0x11111111
	mov ebx, 0x22222222
	mov ecx, 0x33333333
	mov edx, 0x44444444
	mov esi, 0x55555555
	mov edi, 0x66666666
	stc
spin:
	jmp spin
	ROUTINES

	section .bss
	alignb 4096
directory:
	resb 4096
table:
	resb 4096
