; The world switch. bool vmx_enter(struct vcpu_regs *regs, bool resume)
;
; Interrupts are off. VM entry opens no gap: an interrupt that is pending ends the guest's run
; at once, and stays pending. VM exit leaves RFLAGS clear, so interrupts are off here too.

	bits 64
	default rel
	section .text

; struct vcpu_regs: gpr[] in ModRM order. RSP travels in the VMCS.
RAX_ equ 0 * 8
RCX_ equ 1 * 8
RDX_ equ 2 * 8
RBX_ equ 3 * 8
RBP_ equ 5 * 8
RSI_ equ 6 * 8
RDI_ equ 7 * 8
R8_  equ 8 * 8
R9_  equ 9 * 8
R10_ equ 10 * 8
R11_ equ 11 * 8
R12_ equ 12 * 8
R13_ equ 13 * 8
R14_ equ 14 * 8
R15_ equ 15 * 8

VMCS_HOST_RSP equ 0x6c14

	global vmx_enter:function
vmx_enter:
	push rbp
	mov rbp, rsp
	push rbx
	push r12
	push r13
	push r14
	push r15
	push rdi
	mov eax, VMCS_HOST_RSP
	vmwrite rax, rsp
	test sil, sil           ; no MOV below changes ZF
	mov rax, [rdi + RAX_]
	mov rcx, [rdi + RCX_]
	mov rdx, [rdi + RDX_]
	mov rbx, [rdi + RBX_]
	mov rbp, [rdi + RBP_]
	mov rsi, [rdi + RSI_]
	mov r8, [rdi + R8_]
	mov r9, [rdi + R9_]
	mov r10, [rdi + R10_]
	mov r11, [rdi + R11_]
	mov r12, [rdi + R12_]
	mov r13, [rdi + R13_]
	mov r14, [rdi + R14_]
	mov r15, [rdi + R15_]
	mov rdi, [rdi + RDI_]
	jnz .resume
	vmlaunch
	jmp .failed
.resume:
	vmresume
.failed:
	xor eax, eax
	add rsp, 8
	jmp leave_it

	global vmx_exit_point:function
vmx_exit_point:
	push rdi
	mov rdi, [rsp + 8]
	mov [rdi + RAX_], rax
	mov [rdi + RCX_], rcx
	mov [rdi + RDX_], rdx
	mov [rdi + RBX_], rbx
	mov [rdi + RBP_], rbp
	mov [rdi + RSI_], rsi
	mov [rdi + R8_], r8
	mov [rdi + R9_], r9
	mov [rdi + R10_], r10
	mov [rdi + R11_], r11
	mov [rdi + R12_], r12
	mov [rdi + R13_], r13
	mov [rdi + R14_], r14
	mov [rdi + R15_], r15
	pop qword [rdi + RDI_]
	mov eax, 1
	add rsp, 8
leave_it:
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbx
	pop rbp
	ret

	section .note.GNU-stack noalloc noexec nowrite progbits
