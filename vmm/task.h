/* Hardware task switches, where the processor leaves them to the hypervisor. */
#ifndef UMBRA_VMM_TASK_H
#define UMBRA_VMM_TASK_H

struct vcpu;

/*
 * Switch tasks as vcpu->exit.task says, the way a processor does outside long mode (SDM
 * vol. 3, 7.3; APM vol. 2, 12.3). The hardware has already checked the right to go through
 * the gate, or to the TSS; what else it checks is checked here.
 *
 * A fault met before the switch is certain is raised in the old task, at the instruction
 * that asked for it, and nothing has changed; a later one in the new task, before its first
 * instruction. An event that came through a task gate is then delivered, unless such a fault
 * took its place.
 */
void task_switch(struct vcpu *vcpu);

#endif
