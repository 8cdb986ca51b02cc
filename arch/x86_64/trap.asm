; One entry per vector: make all frames alike (struct trap_frame) and call
; trap_dispatch().

extern trap_dispatch

section .text progbits alloc exec nowrite align=16
bits 64

%macro STUB 1
%if %1 == 8 || (%1 >= 10 && %1 <= 14) || %1 == 17 || %1 == 21 || %1 == 29 || %1 == 30
	push	%1		; hardware has pushed an error code
%else
	push	0
	push	%1
%endif
	jmp	near trap_common
	align	16
%endmacro

global trap_stubs
align 16
trap_stubs:
%assign vector 0
%rep 256
	STUB	vector
%assign vector vector + 1
%endrep

trap_common:
	push	rax
	push	rcx
	push	rdx
	push	rbx
	push	rbp
	push	rsi
	push	rdi
	push	r8
	push	r9
	push	r10
	push	r11
	push	r12
	push	r13
	push	r14
	push	r15
	cld
	mov	rdi, rsp
	; A frame for the backtrace to go through: the interrupted RIP, then RBP.
	push	qword [rsp + 17 * 8]
	push	rbp
	mov	rbp, rsp
	call	trap_dispatch
	add	rsp, 16
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	r11
	pop	r10
	pop	r9
	pop	r8
	pop	rdi
	pop	rsi
	pop	rbp
	pop	rbx
	pop	rdx
	pop	rcx
	pop	rax
	add	rsp, 16
	iretq

section .note.GNU-stack noalloc noexec nowrite progbits
