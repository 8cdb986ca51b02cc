; The way of each processor into 64-bit mode: the first by PVH, the others by STARTUP.
%include "guest.inc"

%define CODE64 0x08
%define DATA 0x10
%define CODE32 0x18
%define TRAMPOLINE 0x70000	; latency.h has it too
%define STACK_SIZE 4096		; as well

	extern guest_main, other_main, stacks, idtr

	PVH_NOTE start

	section .text
	bits 32
	global start
start:
	cli
	mov [start_info], ebx
	; 4 GiB as they lie, in pages of 2 MiB.
	mov edi, pds
	mov eax, 0x83
	mov ecx, 4 * 512
.page:
	mov [edi], eax
	add edi, 8
	add eax, 0x200000
	loop .page
	mov dword [pdpt], pds + 3
	mov dword [pdpt + 8], pds + 0x1003
	mov dword [pdpt + 16], pds + 0x2003
	mov dword [pdpt + 24], pds + 0x3003
	mov dword [pml4], pdpt + 3
	mov esi, trampoline
	mov edi, TRAMPOLINE
	mov ecx, trampoline_end - trampoline
	rep movsb
	lgdt [gdtr]
	jmp long_mode

	bits 16
trampoline:
	cli
	mov ax, cs
	mov ds, ax
	o32 lgdt [trampoline_gdtr - trampoline]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword CODE32:long_mode
trampoline_gdtr:
	dw gdt_end - gdt - 1
	dd gdt
trampoline_end:

	bits 32
long_mode:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, 0x620		; OSXMMEXCPT, OSFXSR, PAE
	mov cr4, eax
	mov eax, pml4
	mov cr3, eax
	mov ecx, 0xc0000080	; EFER.LME
	rdmsr
	or eax, 0x100
	wrmsr
	mov eax, 0x80010033	; PG, WP, NE, ET, MP, PE
	mov cr0, eax
	jmp CODE64:.long
	bits 64
.long:
	mov edi, 1
	lock xadd [abs next_number], edi
	lea esp, [edi + 1]
	imul esp, esp, STACK_SIZE
	add esp, stacks
	test edi, edi
	jnz .other
	mov edi, [abs start_info]
	call guest_main
.other:
	lidt [abs idtr]
	call other_main

; Exceptions: nobody expects one.
%macro STUB 1
stub_%+%1:
	mov edi, %1
	mov rsi, [rsp]
	mov rdx, [rsp + 8]
	jmp stray
%endmacro
%assign vector 0
%rep 32
	STUB vector
%assign vector vector + 1
%endrep
stray:
	and rsp, -16
	extern on_exception
	call on_exception

	section .rodata
	align 8
	global exception_stubs
exception_stubs:
%assign vector 0
%rep 32
	dq stub_%+vector
%assign vector vector + 1
%endrep

	section .data
	align 8
gdt:	dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdt_end:
gdtr:	dw gdt_end - gdt - 1
	dd gdt
	dd 0
start_info: dd 0
next_number: dd 0

	section .bss
	alignb 4096
	global pdpt
pml4:	resb 4096
pdpt:	resb 4096
pds:	resb 4 * 4096
