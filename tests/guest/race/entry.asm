; The way of each processor into 64-bit mode, its exceptions and interrupts, and the probes.
%include "guest.inc"

%define CODE64 0x08
%define DATA 0x10
%define CODE32 0x18
%define LOW_CODE 0x8000
%define STACK_SIZE 16384
%define MAX_CPUS 8

	extern guest_main, cpu_main, on_trap

	PVH_NOTE start

	section .text
	bits 32
	global start
start:
	cli
	mov [start_info], ebx
	; 1 GiB as it lies, until spaces_init() has made other tables.
	mov edi, early_pd
	mov eax, 0x83
	mov ecx, 512
.page:
	mov [edi], eax
	add edi, 8
	add eax, 0x200000
	loop .page
	mov dword [early_pdpt], early_pd + 3
	mov dword [early_pml4], early_pdpt + 3
	lgdt [gdtr]
	jmp CODE32:enter

; A processor in 32-bit mode without paging; the first that comes here is number 0.
enter:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, 0x6a0		; OSXMMEXCPT, OSFXSR, PGE, PAE
	mov cr4, eax
	mov eax, early_pml4
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x900		; NXE, LME
	wrmsr
	mov eax, 0x80010033
	mov cr0, eax
	jmp CODE64:.long
	bits 64
.long:
	mov edi, 1
	lock xadd [abs tickets], edi
	cmp edi, MAX_CPUS
	jae .rest
	lea eax, [edi + 1]
	imul eax, STACK_SIZE
	lea rsp, [rax + stacks]
	test edi, edi
	jnz .other
	mov edi, [abs start_info]
	call guest_main
.other:
	call cpu_main
.rest:
	hlt
	jmp .rest

; --- exceptions and interrupts ---

%macro STUB 1
stub_%+%1:
%if %1 != 8 && %1 != 17 && %1 != 21 && %1 != 29 && %1 != 30 && (%1 < 10 || %1 > 14)
	push 0
%endif
	push strict dword %1
	jmp on_vector
%endmacro
%assign vector 0
%rep 256
	STUB vector
%assign vector vector + 1
%endrep

on_vector:
	push rax
	push rcx
	push rdx
	push rbx
	push rbp
	push rsi
	push rdi
%assign n 8
%rep 8
	push r %+ n
%assign n n + 1
%endrep
	cld
	mov rdi, rsp
	call on_trap
%assign n 15
%rep 8
	pop r %+ n
%assign n n - 1
%endrep
	pop rdi
	pop rsi
	pop rbp
	pop rbx
	pop rdx
	pop rcx
	pop rax
	add rsp, 16
	iretq

; --- accesses that may fault: then on_trap() goes on at probe_ret ---

	global probe_read, probe_read_at, probe_write, probe_write_at, probe_fetch, probe_ret
probe_read:
probe_read_at:
	mov rax, [rdi]
probe_ret:
	ret
probe_write:
probe_write_at:
	mov [rdi], rsi
	ret
probe_fetch:
	jmp rdi			; there is `mov eax, ...; ret`

; --- real mode: what lies at LOW_CODE ---

	section .rodata
	global low_code, low_code_end
low_code:
	bits 16
	cli
	o32 lgdt [cs:low_gdtr - low_code]
	mov eax, 0x11
	mov cr0, eax
	jmp dword CODE32:enter
low_gdtr: dw 31
	dd gdt
low_code_end:

	align 8
	global idt_stubs
idt_stubs:
%assign vector 0
%rep 256
	dq stub_%+vector
%assign vector vector + 1
%endrep

	section .data
	align 8
gdt:	dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdtr:	dw 31
	dd gdt
tickets: dd 0

	section .bss
	alignb 4096
early_pml4: resb 4096
early_pdpt: resb 4096
early_pd: resb 4096
stacks:	resb MAX_CPUS * STACK_SIZE
start_info: resd 1
