; Says which byte came in on COM1, sends what comes in on COM2 back there, and counts lines on
; COM1 after an 'f'; 'q' ends it, 'h' stops listening.
%include "guest.inc"

%define COM2		0x2f8
%define LINES		2000

	GUEST
	mov al, 1		; FIFOs on
	mov dx, COM1 + 2
	out dx, al
	mov dx, COM2 + 2
	out dx, al
	SAY "keys: ready"

next:
	mov dx, COM2 + 5
	in al, dx
	test al, 1
	jz .no_line
	mov dx, COM2
	in al, dx
	out dx, al
.no_line:
	mov dx, COM1 + 5
	in al, dx
	test al, 1
	jz next
	mov dx, COM1
	in al, dx
	movzx ebx, al
	cmp al, 'f'
	je flood
	SAY "key:"
	mov eax, ebx
	call say_hex
	mov al, 10
	call say_char
	cmp bl, 'h'
	je deaf
	cmp bl, 'q'
	jne next
	EXIT EXIT_OK

deaf:
	jmp deaf

flood:
	mov ebx, 0
.line:
	mov eax, ebx
	call say_hex
	mov al, 10
	call say_char
	inc ebx
	cmp ebx, LINES
	jne .line
	SAY "flood is over"
	jmp next
	ROUTINES
