; The world switch. void svm_enter(struct vcpu_regs *regs, u64 guest_vmcb, u64 host_vmcb)
;
; GIF is clear from before the guest's registers are loaded until the host's are back, so
; not even an NMI comes between. RFLAGS.IF is set inside: with V_INTR_MASKING it is this
; IF that lets a host interrupt end the guest's run. The interrupt stays pending; the
; caller takes it when it enables interrupts. A pending NMI is taken at STGI.

	bits 64
	default rel
	section .text

; struct vcpu_regs: gpr[] in ModRM order. RAX and RSP travel in the VMCB.
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

	global svm_enter:function
svm_enter:
	push rbp
	mov rbp, rsp
	push rbx
	push r12
	push r13
	push r14
	push r15
	push rdi
	push rdx
	mov rax, rsi
	clgi
	sti
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
	vmload
	vmrun
.left:
	vmsave                  ; RAX is the host's again: the guest's VMCB
	mov rax, [rsp]
	vmload
	mov rax, [rsp + 8]
	mov [rax + RCX_], rcx
	mov [rax + RDX_], rdx
	mov [rax + RBX_], rbx
	mov [rax + RBP_], rbp
	mov [rax + RSI_], rsi
	mov [rax + RDI_], rdi
	mov [rax + R8_], r8
	mov [rax + R9_], r9
	mov [rax + R10_], r10
	mov [rax + R11_], r11
	mov [rax + R12_], r12
	mov [rax + R13_], r13
	mov [rax + R14_], r14
	mov [rax + R15_], r15
	add rsp, 16
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbx
	pop rbp
	cli
	stgi
	ret

; void svm_write_cr2(u64 val)
	global svm_write_cr2:function
svm_write_cr2:
	mov cr2, rdi
	ret

; Bochs: the single-step trap of a guest whose instruction has exited stays pending and
; comes here, with the guest's GS still loaded. Go on as if it had not.
	section .ex_table progbits alloc noexec nowrite align=8
	dq svm_enter.left, svm_enter.left, 1  ; #DB

	section .note.GNU-stack noalloc noexec nowrite progbits
