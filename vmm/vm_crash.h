/* What is told of a VM that has crashed, beside the line that says why. */
#ifndef UMBRA_VMM_VM_CRASH_H
#define UMBRA_VMM_VM_CRASH_H

struct vm;

/*
 * To the log: the vCPU that crashed, what an event needs to reach its handler, and the last events
 * that it was given; of the others what was traced. With the log's level at debug, and no restart
 * to come, all that there is of each. Its vCPUs are off their CPUs, and still whole.
 */
void vm_crash_tell(const struct vm *vm);

#endif
