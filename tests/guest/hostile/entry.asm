; The hostile guest's entry, its way into every mode and, by exceptions and interrupts, out of each.
%include "guest.inc"
%include "lib/long.inc"

%define CODE64 0x08
%define DATA 0x10
%define CODE32 0x18
%define UDATA 0x33
%define CODE16 0x20
%define TSS64 0x48
%define TSS32 0x58

%define LOW_CODE 0x8000

%define CR0_GOOD 0x80010033
%define CR4_GOOD 0x620

; struct cpu of hostile.h, and struct wild in it.
%define MAX_CPUS 8
%define CPU_SHIFT 15
%define CPU_SIZE (1 << CPU_SHIFT)
%define CPU_STACK 0x4000
%define CPU_STACK32 0x7000
%define CPU_WILD 0x4000
%define CPU_GDT 0x40d0
%define CPU_GDTR 0x4308
%define W_REG(n) CPU_WILD + 8 * (n)
%define W_RIP CPU_WILD + 128
%define W_CS CPU_WILD + 136
%define W_RFLAGS CPU_WILD + 144
%define W_SS CPU_WILD + 152
%define W_STEPS CPU_WILD + 160
%define W_VECTOR CPU_WILD + 168
%define W_ERROR CPU_WILD + 176
%define W_FROM CPU_WILD + 184
%define W_MODE CPU_WILD + 192
%define W_CR0 CPU_WILD + 196
%define W_CR3 CPU_WILD + 200
%define W_CR4 CPU_WILD + 204

%define WILD_32 3
%define WILD_V86 5
%define WILD_REAL 6

; THIS_CPU: its struct cpu in EBP, whatever it has done to itself. Changes EAX, EBX, ECX, EDX.
%macro THIS_CPU 0
	mov eax, 1
	cpuid
	shr ebx, 24		; its APIC id
	and ebx, MAX_CPUS - 1
	shl ebx, CPU_SHIFT
	lea ebp, [ebx + cpus]
%endmacro

	extern guest_main, next_try, machine_mend, pml4

	PVH_NOTE start

	section .bss
	alignb CPU_SIZE
	global cpus
cpus:	resb MAX_CPUS * CPU_SIZE

	section .text
	bits 32
	global start
start:
	cli
	mov esp, cpus + CPU_STACK32
	mov [start_info], ebx
	; 2 MiB pages until machine_init() has made its own tables.
	FLAT_TABLES 1
	LONG_MODE CR4_GOOD, flat_pml4, EFER_LME, CR0_GOOD
	lgdt [first_gdtr]
	jmp CODE64:.long
	bits 64
.long:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, cpus + CPU_STACK
	mov edi, [abs start_info]
	call guest_main

; load_tables(struct cpu *): GDT, IDT, TSS anew.
	global load_tables
load_tables:
	lgdt [rdi + CPU_GDTR]
	lidt [abs idtr64]
	mov eax, TSS64
	ltr ax
	xor eax, eax
	lldt ax
	mov eax, DATA
	mov ss, eax
	mov eax, UDATA
	mov ds, eax
	mov es, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	ret

; --- out of 64-bit and compatibility mode ---

	VECTOR_STUBS 256, on_vector

; Each gate's stack is the processor's own, behind which its struct wild begins.
%define FRAME 56		; the frame, the error code and the vector
%define STEPS rsp + FRAME + W_STEPS - CPU_STACK

on_vector:
	cmp qword [rsp], 1
	jne mend
	cmp qword [STEPS], 0
	je mend
	dec qword [STEPS]
	add rsp, 16
	iretq

	global syscall_entry
syscall_entry:			; on whose stack, and 32 bits wide or 64?
	mov edi, ecx
	mov ecx, MSR_EFER
	rdmsr
	test eax, 0x400		; LMA
	jz back32
	THIS_CPU
	lea rsp, [rbp + CPU_STACK]
	push rdi
	push 0
	push 256

; What ended it is on the stack. Never goes back.
mend:
	cld
	pop rsi
	pop rdi
	pop r8
	THIS_CPU
	mov [rbp + W_VECTOR], rsi
	mov [rbp + W_ERROR], rdi
	mov [rbp + W_FROM], r8
mend_quietly:
	lidt [abs idtr64]	; others may send an NMI
	mov ebp, ebp
	lea rsp, [rbp + CPU_STACK]
	mov ebx, pml4
	mov rax, cr3
	cmp rax, rbx
	je .cr3
	mov cr3, rbx
.cr3:
	mov ebx, CR4_GOOD
	mov rax, cr4
	cmp rax, rbx
	je .cr4
	mov cr4, rbx
.cr4:
	mov ebx, CR0_GOOD
	mov rax, cr0
	cmp rax, rbx
	je .cr0
	mov cr0, rbx
.cr0:
	; A CS with L and D, which QEMU would load, lasts only to the next entry.
	mov dword [rbp + CPU_GDT + CODE64], 0xffff
	mov dword [rbp + CPU_GDT + CODE64 + 4], 0x00af9b00
	lgdt [rbp + CPU_GDTR]
	push CODE64
	push .cs
	retfq
.cs:
	push 2
	popfq
	call machine_mend
	jmp next_try

; --- into them ---

	global wild_run
wild_run:
	mov rbp, rsp
	and rbp, -CPU_SIZE
	mov eax, [rbp + W_MODE]
	cmp eax, WILD_32
	jae leave_long
	push qword [rbp + W_SS]
	push qword [rbp + W_REG(4)]
	push qword [rbp + W_RFLAGS]
	push qword [rbp + W_CS]
	push qword [rbp + W_RIP]
	mov rax, [rbp + W_REG(0)]
	mov rcx, [rbp + W_REG(1)]
	mov rdx, [rbp + W_REG(2)]
	mov rbx, [rbp + W_REG(3)]
	mov rsi, [rbp + W_REG(6)]
	mov rdi, [rbp + W_REG(7)]
%assign n 8
%rep 8
	mov r %+ n, [rbp + W_REG(n)]
%assign n n + 1
%endrep
	mov rbp, [rbp + W_REG(5)]
	iretq

leave_long:
	push CODE32
	push .compat
	retfq
	bits 32
.compat:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	lea esp, [ebp + CPU_STACK32]
	mov eax, 0x33
	mov cr0, eax
	mov ecx, MSR_EFER
	rdmsr
	and eax, ~EFER_LME
	wrmsr
	cmp dword [ebp + W_MODE], WILD_REAL
	je to_real
	lidt [idtr32]
	mov eax, [ebp + W_CR4]
	mov cr4, eax
	mov eax, [ebp + W_CR3]
	mov cr3, eax
	mov eax, [ebp + W_CR0]
	mov cr0, eax
	jmp .paged
.paged:
	mov eax, TSS32
	ltr ax
	mov eax, UDATA
	mov ds, eax
	mov es, eax
	cmp dword [ebp + W_MODE], WILD_V86
	je .v86
	test dword [ebp + W_CS], 3
	jnz .ring3
	mov ss, [ebp + W_SS]
	mov esp, [ebp + W_REG(4)]
	jmp .flags
.v86:
	push dword [ebp + W_REG(8)]	; GS, FS, DS, ES
	push dword [ebp + W_REG(9)]
	push dword [ebp + W_REG(10)]
	push dword [ebp + W_REG(11)]
.ring3:
	push dword [ebp + W_SS]
	push dword [ebp + W_REG(4)]
.flags:
	push dword [ebp + W_RFLAGS]
	push dword [ebp + W_CS]
	push dword [ebp + W_RIP]
	call load32
	iretd

load32:
	mov eax, [ebp + W_REG(0)]
	mov ecx, [ebp + W_REG(1)]
	mov edx, [ebp + W_REG(2)]
	mov ebx, [ebp + W_REG(3)]
	mov esi, [ebp + W_REG(6)]
	mov edi, [ebp + W_REG(7)]
	mov ebp, [ebp + W_REG(5)]
	ret

to_real:
	call load32
	jmp CODE16:LOW_CODE

; --- out of the modes without EFER.LME ---

%assign vector 0
%rep 256
stub32_%+vector:
	mov byte [ss:last_vector32], vector
	jmp back32
%assign vector vector + 1
%endrep

	global stub_df32
stub_df32:
	mov byte [ss:last_vector32], 8
back32:
	cli
	cld
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	lidt [idtr32]
	mov eax, 0x33
	mov cr0, eax
	xor eax, eax
	mov dr7, eax
	THIS_CPU
	lea esp, [ebp + CPU_STACK32]
	lgdt [ebp + CPU_GDTR]
	LONG_MODE CR4_GOOD, pml4, EFER_LME, CR0_GOOD
	jmp CODE64:mend_quietly

; --- real mode: what lies at LOW_CODE ---

%define LOW(label) (LOW_CODE + label - low_code)

	section .rodata
	global low_code, low_code_end
low_code:
	bits 16
	mov ebp, eax
	mov eax, 0x10
	mov cr0, eax
	jmp 0:LOW(low_real)
low_real:
	lidt [cs:LOW(low_ivt)]
	mov ax, 0x2000
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0xfff0
	mov eax, ebp
	global low_frame
low_frame:
	push strict word 0x202
	push strict word 0x1000
	push strict word 0
	iret
	align 8
low_ivt:	dw 0x3ff
	dd 0
	global low_back
low_back:
	cli
	lgdt [cs:LOW(low_gdtr)]
	mov eax, 0x11
	mov cr0, eax
	jmp dword CODE32:back32
	align 8
low_gdtr:	dw 31
	dd first_gdt
low_code_end:

	; A processor that is started: what lies at START_CODE.
	global start_code, start_code_end
start_code:
	jmp 0:LOW(low_back)
start_code_end:

	align 8
first_gdt: dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
first_gdtr:
	dw 31
	dq first_gdt
	align 8
	global idt_stubs, idt32_stubs
idt_stubs:
	VECTOR_TABLE 256, dq
idt32_stubs:
%assign vector 0
%rep 256
	dd stub32_%+vector
%assign vector vector + 1
%endrep

	section .data
	align 8
idtr32:	dw 0x7ff
	dd idt32
	align 8
idtr64:	dw 0xfff
	dq idt64

	section .bss.tables nobits alloc write align=4096
	global idt64, idt32
idt64:	resb 4096
idt32:	resb 4096

	FLAT_TABLES_BSS 1
start_info: resd 1
last_vector32: resb 1	; by whichever processor
