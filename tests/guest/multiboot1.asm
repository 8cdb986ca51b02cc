; A multiboot 1 kernel, an ELF file: it says what it was told wrong.
%include "guest.inc"
%include "multiboot.inc"
%define FLAGS 3			; modules on page boundaries, memory sizes
	section .bss
	align 16
	resb 4096
stack_top:
zeros:	resd 1
ram_found: resd 1

	section .text
	bits 32
	align 4
	dd 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
	global start
start:
	mov esp, stack_top
	mov ebp, ebx
	EXPECT eax, 0x2badb002
	EXPECT_STATE
	mov ecx, [ebp]
	and ecx, 0x24d		; memory, command line, modules, memory map, loader's name
	EXPECT ecx, 0x24d
	mov ecx, [ebp + 4]
	EXPECT ecx, 639
	mov ecx, [ebp + 8]
	EXPECT ecx, (MEMORY - 0x100000) / 1024
	TEXT [ebp + 16], "line of the kernel"
	TEXT [ebp + 64], "Umbra"

	mov ecx, [ebp + 20]
	EXPECT ecx, 2
	mov ebx, [ebp + 24]
	TEXT [ebx + 8], "first one"
	TEXT [ebx + 24], ""
	mov eax, [ebx]
	mov edx, [ebx + 4]
	call module_one
	mov eax, [ebx + 16]
	mov edx, [ebx + 20]
	call module_two

	mov ebx, [ebp + 48]
	mov edx, [ebp + 44]
	add edx, ebx
.mmap:
	lea esi, [ebx + 4]
	call mmap_entry
	add ebx, [ebx]
	add ebx, 4
	cmp ebx, edx
	jb .mmap
	EXPECT ebx, edx
	mov ecx, [ram_found]
	EXPECT ecx, 1
	SAY "multiboot 1: all as it should be"
	EXIT EXIT_OK
	MULTIBOOT_ROUTINES
	ROUTINES
