; Exits that can be counted: on the byte 'g' from COM1 it does 1000 CPUIDs, all at cpuid_here, 300
; writes to port 0x80, at post_here, and reads 5 times from an address where nothing is.
%include "guest.inc"

%define ROUNDS_CPUID	1000
%define ROUNDS_POST	300
%define ROUNDS_READ	5
%define NOWHERE		0xd0000040

	global cpuid_here, post_here, read_here

	GUEST
	SAY "exits: send g"
wait_for_g:
	mov dx, COM1 + 5
	in al, dx
	test al, 1
	jz wait_for_g
	mov dx, COM1
	in al, dx
	cmp al, 'g'
	jne wait_for_g

	mov edi, ROUNDS_CPUID
cpuid_next:
	xor eax, eax
	xor ecx, ecx
cpuid_here:
	cpuid
	dec edi
	jnz cpuid_next

	mov edi, ROUNDS_POST
post_next:
	mov eax, edi
post_here:
	out 0x80, al
	dec edi
	jnz post_next

	mov edi, ROUNDS_READ
read_here:
	mov eax, [NOWHERE]
	dec edi
	jnz read_here
	EXPECT eax, 0xffffffff

	SAY "exits: done"
	EXIT EXIT_OK
	ROUTINES
