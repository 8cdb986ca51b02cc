; Real mode, "unreal" mode, and paging switched on and off: code that runs without tables of its own.
%include "guest.inc"

%define LOW		0x8000		; where the 16-bit code is copied to
%define CODE16		0x18
%define DATA16		0x20
%define CR0_PE		1
%define CR0_PG		0x80000000
%define CR4_PSE		0x10
%define PAGE_DIR	0x10000		; a page directory of 4 MiB pages
%define LARGE		0x83		; present, writable, a page

%define VALUE		0x20010		; written in real mode as 2000:0010
%define HIGH		0x200000	; beyond what a 16-bit segment reaches
%define ALIAS		0x420010	; with paging on, VALUE; without, another byte
%define MARKS		0x9000		; what the 16-bit code leaves: one word each

	GUEST
	FLAT_SEGMENTS
	mov esi, code16
	mov edi, LOW
	mov ecx, code16_end - code16
	rep movsb
	mov [back], esp
	call real
	EXPECT dword [MARKS], 0x11112222	; an alias by another segment; INT's handler
	EXPECT dword [MARKS + 4], 0x44443333	; #DE's handler; the ROM did not take a write
	EXPECT dword [HIGH], 0x55667788
	EXPECT dword [VALUE], 0x1111
	SAY "real mode: segments, INT, a fault, 4 GiB limits"

	; 4 MiB pages: the first and second both lead to the first 4 MiB.
	mov dword [ALIAS], 0xabcd
	mov dword [PAGE_DIR], LARGE
	mov dword [PAGE_DIR + 4], LARGE
	mov eax, PAGE_DIR
	mov cr3, eax
	mov eax, CR4_PSE
	mov cr4, eax
	mov ecx, 100
.toggle:
	mov eax, cr0
	or eax, CR0_PG
	mov cr0, eax
	EXPECT dword [ALIAS], 0x1111
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax
	EXPECT dword [ALIAS], 0xabcd
	dec ecx
	jnz .toggle
	call real
	EXPECT dword [MARKS], 0x11112222
	SAY "paging on and off"
	EXIT EXIT_OK

; Run code16 in real mode, and come back.
real:
	mov dword [MARKS], 0
	mov dword [MARKS + 4], 0
	jmp CODE16:LOW

	section .data
	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00009b000000ffff, 0x00cf93000000ffff
gdtr:	dw 39
	dd gdt
back:	dd 0

code16:
	bits 16
%define AT(label)	(LOW + label - code16)
	mov ax, DATA16		; 4 GiB limits, which real mode keeps
	mov ds, ax
	mov es, ax
	mov ss, ax
	lidt [AT(ivtr)]
	mov eax, cr0
	and al, ~CR0_PE
	mov cr0, eax
	jmp 0:AT(.real)
.real:
	xor ax, ax
	mov fs, ax
	mov ss, ax
	mov esp, 0x7000		; QEMU: INT and IRET go by SP here; Bochs by ESP, as SS.B says
	mov dword [dword HIGH], 0x55667788
	mov ax, 0x2000
	mov gs, ax
	mov word [gs:0x10], 0x1111
	mov ax, 0x1fff
	mov gs, ax
	mov ax, [gs:0x20]
	mov [fs:MARKS + 2], ax
	mov word [fs:0x60 * 4], AT(on_int)
	mov word [fs:0x60 * 4 + 2], 0
	mov word [fs:0], AT(on_divide)
	mov word [fs:2], 0
	int 0x60
	xor cx, cx
	mov ax, 1
	xor dx, dx
	div cx
	mov ax, 0xf000
	mov gs, ax
	mov ax, [gs:0]
	not word [gs:0]
	cmp ax, [gs:0]
	jne .rom_written
	mov word [fs:MARKS + 6], 0x4444
.rom_written:
	mov eax, cr0
	or al, CR0_PE
	mov cr0, eax
	jmp dword 8:AT(.protected)
	bits 32
.protected:
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, [back]
	sub esp, 4		; where real was called from
	ret
	bits 16
on_int:
	mov word [fs:MARKS], 0x2222
	iret
on_divide: ; RIP is at DIV, two bytes long
	mov word [fs:MARKS + 4], 0x3333
	push bp
	mov bp, sp
	add word [bp + 2], 2
	pop bp
	iret
ivtr:	dw 0x3ff
	dd 0
	bits 32
code16_end:
	section .text
	ROUTINES
