; An invalid opcode as the very first instruction, with no IDT: a triple fault.
%include "guest.inc"
	PVH_NOTE start
	section .text
	bits 32
	global start
start:
	ud2
