; The same with 64 processors.
%define CPUS	64
%include "smp.asm"
