; What a processor without SVM, MONITOR and the like refuses, and how: each instruction must
; raise just the exception that a PC raises, in 32-bit mode and then in 64-bit mode.
%include "guest.inc"
%include "lib/long.inc"

%define UD 6
%define GP 13
%define NONE 0xff

%define MSR_PAT 0x277

; FAULTS vector, instruction: it must raise that exception (NONE: none at all). What is
; compared has the number of the FAULTS, counted from 1, above the vector.
%assign faults 0
%macro FAULTS 2+
%assign faults faults + 1
	mov dword [resume], %%after
	mov [resume_esp], esp
	mov dword [seen], NONE
	%2
%%after:
	mov edx, [seen]
	or edx, faults << 8
	EXPECT edx, faults << 8 | %1
%endmacro

	GUEST
	call set_idt32

	FAULTS UD, ud2
	FAULTS NONE, nop
	mov eax, flat_pml4	; QEMU: looks first whether EAX could be a VMCB
	FAULTS UD, vmrun
	FAULTS UD, vmload
	FAULTS UD, vmsave
	FAULTS UD, stgi
	FAULTS UD, clgi
	FAULTS UD, db 0x0f, 0x01, 0xde ; SKINIT
	FAULTS UD, db 0x0f, 0x01, 0xdf ; INVLPGA
	FAULTS UD, rsm
	mov eax, buffer
	xor ecx, ecx		; QEMU: looks at ECX first
	FAULTS UD, monitor
	FAULTS UD, mwait
	mov ecx, 0x12345
	FAULTS GP, rdmsr
	FAULTS GP, rdpmc
	FAULTS NONE, wbinvd
	FAULTS NONE, invd
	FAULTS 3, int3

	; EFER.SVME does not exist here, nor type 2 in the PAT.
	mov ecx, MSR_EFER
	rdmsr
	or eax, 1 << 12
	FAULTS GP, wrmsr
	rdmsr
	and eax, 1 << 12
	EXPECT eax, 0
	mov ecx, MSR_PAT
	mov eax, 2
	xor edx, edx
	FAULTS GP, wrmsr

	; CR4's reserved bits; CR0.NW without CD; PG would need PE, which cannot be lost with it.
	mov eax, cr4
	or eax, 1 << 31
	FAULTS GP, mov cr4, eax
	mov eax, cr0
	and eax, ~(1 << 30)
	or eax, 1 << 29
	FAULTS GP, mov cr0, eax
	mov eax, 1 << 31
	FAULTS GP, mov cr0, eax

	; CD and NW read back as written, whatever the hardware runs with.
	mov eax, cr0
	or eax, 3 << 29
	FAULTS NONE, mov cr0, eax
	mov eax, cr0
	and eax, 3 << 29
	EXPECT eax, 3 << 29
	smsw eax
	and eax, 1
	EXPECT eax, 1
	mov dword [buffer], 0xffffffff
	FAULTS NONE, smsw [buffer]
	mov eax, [buffer]
	and eax, 0xffff0001
	EXPECT eax, 0xffff0001
	mov eax, cr0
	and eax, ~(3 << 29)
	FAULTS NONE, mov cr0, eax
	mov eax, cr0
	and eax, 3 << 29
	EXPECT eax, 0

	; TS by LMSW, away by CLTS.
	mov eax, 9
	FAULTS NONE, lmsw ax
	mov eax, cr0
	and eax, 8
	EXPECT eax, 8
	clts
	mov eax, cr0
	and eax, 8
	EXPECT eax, 0

	; A trap after each instruction that exits, too.
	pushfd
	or dword [esp], 0x100
	FAULTS 1, call step_cpuid
	mov eax, [seen_ip]
	EXPECT eax, after_cpuid

	SAY "32-bit: all refused as on a PC"
	jmp enter_long

step_cpuid:
	add esp, 4
	popfd
	cpuid
after_cpuid:
	nop
	nop

; --- exceptions: remember the vector and where, go on at [resume] ---

%assign v 0
%rep 32
stub32_%+v:
%if v = 8 || (v >= 10 && v <= 14) || v = 17
	add esp, 4
%endif
	mov dword [seen], v
	jmp caught32
%assign v v + 1
%endrep

caught32:
	pop dword [seen_ip]
	mov esp, [resume_esp]
	jmp [resume]

set_idt32:
	lgdt [gdtr]
	jmp 8:.cs
.cs:
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov edi, idt
	mov esi, stubs32
	mov ecx, 32
.gate:
	lodsd
	mov [edi], ax
	mov word [edi + 2], 8
	mov word [edi + 4], 0x8e00
	shr eax, 16
	mov [edi + 6], ax
	add edi, 8
	loop .gate
	mov word [idtr], 32 * 8 - 1
	lidt [idtr]
	ret

; --- 64-bit mode: 1 GiB mapped one to one with 2 MiB pages ---

enter_long:
	FLAT_TABLES 1
	mov edi, idt
	mov ecx, 32
.gate:
	mov eax, caught64_0
	cmp ecx, 32 - GP
	jne .other
	mov eax, caught64_gp
.other:
	mov [edi], ax
	mov word [edi + 2], 24
	mov word [edi + 4], 0x8e00
	shr eax, 16
	mov [edi + 6], ax
	mov dword [edi + 8], 0
	mov dword [edi + 12], 0
	add edi, 16
	loop .gate
	mov word [idtr], 32 * 16 - 1
	lidt [idtr]

	mov esi, cr4
	or esi, 1 << 5
	mov edi, cr0
	or edi, 1 << 31
	LONG_MODE esi, flat_pml4, EFER_LME, edi
	jmp 24:in_long

	bits 64
%assign n 0
; GP64 instruction: must raise #GP; else the guest ends with a status that tells which.
%macro GP64 1+
%assign n n + 1
	mov qword [resume], %%after
	mov [resume_esp], rsp
	mov dword [seen], NONE
	%1
%%after:
	mov bl, EXIT_WRONG + n
	cmp dword [seen], GP
	jne fail64
%endmacro

in_long:
	mov ecx, MSR_EFER
	rdmsr
	mov bl, EXIT_WRONG + 0x40
	test eax, 1 << 10
	jz fail64
	mov rax, cr3
	mov rcx, rax
	bts rax, 45
	GP64 mov cr3, rax
	mov rax, rcx
	bts rax, 62
	GP64 mov cr3, rax
	mov rax, cr3
	mov bl, EXIT_WRONG + 0x41
	cmp rax, rcx
	jne fail64
	mov eax, 16
	GP64 mov cr8, rax
	mov eax, 5
	mov cr8, rax
	mov rdx, cr8
	mov bl, EXIT_WRONG + 0x42
	cmp edx, 5
	jne fail64
	mov rax, cr0
	bts rax, 40
	GP64 mov cr0, rax
	mov rax, cr0
	btr rax, 31
	btr rax, 0
	btc rax, 29
	GP64 mov cr0, rax
	mov rax, cr4
	btr rax, 5
	GP64 mov cr4, rax
	mov ecx, MSR_EFER
	rdmsr
	btr eax, 8
	GP64 wrmsr
	mov rsi, done
.char:
	lodsb
	test al, al
	jz .exit
	mov dx, COM1
	out dx, al
	jmp .char
.exit:
	mov bl, EXIT_OK
fail64:
	mov al, bl
	out DEBUG_EXIT, al
.again:
	hlt
	jmp .again

caught64_gp:
	mov dword [seen], GP
caught64_0:
	mov rsp, [resume_esp]
	jmp [resume]

	section .rodata
done:	db "64-bit: all refused as on a PC", 10, 0
	align 8
stubs32:
%assign v 0
%rep 32
	dd stub32_%+v
%assign v v + 1
%endrep

	section .data
	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr:	dw 31
	dd gdt
idtr:	dw 0
	dd idt, 0
resume:	dq 0
resume_esp: dq 0
seen:	dd 0
seen_ip: dd 0

	FLAT_TABLES_BSS 1
idt:	resb 32 * 16
buffer:	resb 64

	section .text
	bits 32
	ROUTINES
