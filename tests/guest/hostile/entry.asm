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
%define LOW_STACK 0x7000

%define CR0_GOOD 0x80010033
%define CR4_GOOD 0x620

; struct wild of hostile.h.
%define W_REG(n) wild + 8 * (n)
%define W_RIP wild + 128
%define W_CS wild + 136
%define W_RFLAGS wild + 144
%define W_SS wild + 152
%define W_STEPS wild + 160
%define W_VECTOR wild + 168
%define W_ERROR wild + 176
%define W_FROM wild + 184
%define W_MODE wild + 192
%define W_CR0 wild + 196
%define W_CR3 wild + 200
%define W_CR4 wild + 204

%define WILD_32 3
%define WILD_V86 5
%define WILD_REAL 6

	extern guest_main, next_try, machine_mend, pml4, gdt

	PVH_NOTE start

	section .bss
	alignb 4096
	resb 16384
	global boot_stack_top
boot_stack_top:
	resb 8192
stack32_top:
	resb 4096
	global df_stack_top
df_stack_top:

	section .text
	bits 32
	global start
start:
	cli
	mov esp, stack32_top
	mov [start_info], ebx
	; 2 MiB pages until machine_init() has made its own tables.
	FLAT_TABLES 1
	LONG_MODE CR4_GOOD, flat_pml4, EFER_LME, CR0_GOOD
	mov dword [gdt + CODE64], 0xffff
	mov dword [gdt + CODE64 + 4], 0x00af9b00
	mov dword [gdt + DATA], 0xffff
	mov dword [gdt + DATA + 4], 0x00cf9300
	lgdt [gdtr32]
	jmp CODE64:.long
	bits 64
.long:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov rsp, boot_stack_top
	mov edi, [abs start_info]
	call guest_main

; load_tables(): GDT, IDT, TSS anew.
	global load_tables
load_tables:
	lgdt [abs gdtr64]
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

on_vector:
	cmp qword [rsp], 1
	jne mend
	cmp qword [abs W_STEPS], 0
	je mend
	dec qword [abs W_STEPS]
	add rsp, 16
	iretq

	global syscall_entry
syscall_entry:			; on whose stack, and 32 bits wide or 64?
	mov ecx, MSR_EFER
	rdmsr
	test eax, 0x400		; LMA
	jz back32
	mov rsp, boot_stack_top
	push 0
	push 0
	push 256

; What ended it is on the stack. Never goes back.
mend:
	cld
	pop qword [abs W_VECTOR]
	pop qword [abs W_ERROR]
	pop qword [abs W_FROM]
mend_quietly:
	mov rsp, boot_stack_top
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
	mov dword [abs gdt + CODE64], 0xffff
	mov dword [abs gdt + CODE64 + 4], 0x00af9b00
	lgdt [abs gdtr64]
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
	mov eax, [abs W_MODE]
	cmp eax, WILD_32
	jae leave_long
	push qword [abs W_SS]
	push qword [abs W_REG(4)]
	push qword [abs W_RFLAGS]
	push qword [abs W_CS]
	push qword [abs W_RIP]
	mov rax, [abs W_REG(0)]
	mov rcx, [abs W_REG(1)]
	mov rdx, [abs W_REG(2)]
	mov rbx, [abs W_REG(3)]
	mov rbp, [abs W_REG(5)]
	mov rsi, [abs W_REG(6)]
	mov rdi, [abs W_REG(7)]
%assign n 8
%rep 8
	mov r %+ n, [abs W_REG(n)]
%assign n n + 1
%endrep
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
	mov esp, stack32_top
	mov eax, 0x33
	mov cr0, eax
	mov ecx, MSR_EFER
	rdmsr
	and eax, ~EFER_LME
	wrmsr
	cmp dword [W_MODE], WILD_REAL
	je to_real
	lidt [idtr32]
	mov eax, [W_CR4]
	mov cr4, eax
	mov eax, [W_CR3]
	mov cr3, eax
	mov eax, [W_CR0]
	mov cr0, eax
	jmp .paged
.paged:
	mov eax, TSS32
	ltr ax
	mov eax, UDATA
	mov ds, eax
	mov es, eax
	cmp dword [W_MODE], WILD_V86
	je .v86
	test dword [W_CS], 3
	jnz .ring3
	mov ss, [W_SS]
	mov esp, [W_REG(4)]
	jmp .flags
.v86:
	push dword [W_REG(8)]	; GS, FS, DS, ES
	push dword [W_REG(9)]
	push dword [W_REG(10)]
	push dword [W_REG(11)]
.ring3:
	push dword [W_SS]
	push dword [W_REG(4)]
.flags:
	push dword [W_RFLAGS]
	push dword [W_CS]
	push dword [W_RIP]
	call load32
	iretd

load32:
	mov eax, [W_REG(0)]
	mov ecx, [W_REG(1)]
	mov edx, [W_REG(2)]
	mov ebx, [W_REG(3)]
	mov ebp, [W_REG(5)]
	mov esi, [W_REG(6)]
	mov edi, [W_REG(7)]
	ret

to_real:
	call load32
	jmp CODE16:LOW_CODE

; --- out of the modes without EFER.LME ---

%assign vector 0
%rep 256
stub32_%+vector:
	mov byte [ss:W_VECTOR], vector
	jmp back32
%assign vector vector + 1
%endrep

	global stub_df32
stub_df32:
	mov byte [W_VECTOR], 8
back32:
	cli
	cld
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, stack32_top
	mov eax, 0x33
	mov cr0, eax
	xor eax, eax
	mov dr7, eax
	lgdt [gdtr32]
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
low_gdtr:	dw 0xff
	dd gdt
low_code_end:

	section .rodata
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
gdtr32:	dw 0xff
	dd gdt
	align 8
gdtr64:	dw 0xff
	dq gdt
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
	global tss64, tss32, tss_df, wild
tss64:	resb 104
	alignb 64
tss32:	resb 104
	alignb 64
tss_df:	resb 104
	alignb 64
wild:	resb 208
start_info: resd 1
