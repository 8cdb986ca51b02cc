; Linux' 16-bit setup code (the bzImage is this guest's initrd), from its entry to the jump into
; what it takes for the kernel. There is no BIOS: each INT comes back with carry set.
%include "guest.inc"

%define SETUP 0x90000		; where boot loaders put it
%define SETUP_SIZE 0x8000	; as much as the protocol has room for
%define STACK 0xde00		; in its segment: above the heap
%define LINE 0x9e000
%define HANDLER 0x600
%define LOW 0x7000		; the way into real mode
%define MODULES 16		; in PVH's start information, EBX: address of the list

	GUEST
	FLAT_SEGMENTS
%macro COPY 3
	mov esi, %1
	mov edi, %2
	mov ecx, %3
	rep movsb
%endmacro
	mov ebx, [ebx + MODULES]
	COPY [ebx], SETUP, SETUP_SIZE
	COPY handler, HANDLER, handler_end - handler
	COPY real, LOW, real_end - real
	xor edi, edi
	mov eax, HANDLER
	mov ecx, 256
	rep stosd
	; The header: Linux' boot protocol.
	EXPECT dword [SETUP + 0x202], 0x53726448	; "HdrS"
	mov word [SETUP + 0x1fa], 0xffff	; vid_mode: as it is
	mov byte [SETUP + 0x210], 0xff		; type_of_loader
	or byte [SETUP + 0x211], 0x81		; loadflags: loaded high, may use the heap
	mov dword [SETUP + 0x214], arrived	; code32_start
	mov word [SETUP + 0x224], STACK - 0x200	; heap_end_ptr
	mov dword [SETUP + 0x228], LINE
	mov byte [LINE], 0
	jmp 0x18:LOW

arrived: ; ESI: the boot parameters
	mov al, [esi + 0x210]
	movzx eax, al
	EXPECT eax, 0xff
	SAY "Linux' setup code has come to its end"
	EXIT EXIT_OK

	section .data
	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00009b000000ffff, 0x000093000000ffff
gdtr:	dw 39
	dd gdt
	bits 16
%macro DATA_SEGMENTS 1
	mov ax, %1
	mov ds, ax
	mov es, ax
	mov fs, ax
	mov gs, ax
	mov ss, ax
%endmacro
real:
	DATA_SEGMENTS 0x20
	lidt [LOW + ivtr - real]
	mov eax, cr0
	and al, 0xfe
	mov cr0, eax
	jmp 0:LOW + .real_mode - real
.real_mode:
	DATA_SEGMENTS SETUP >> 4
	mov esp, STACK
	jmp (SETUP >> 4) + 0x20:0
ivtr:	dw 0x3ff
	dd 0
real_end:
handler:
	push bp
	mov bp, sp
	or word [bp + 6], 1
	pop bp
	iret
handler_end:
	bits 32
	section .text
	ROUTINES
