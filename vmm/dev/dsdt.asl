/*
 * What a guest's operating system cannot find out by itself: the host bridge, how its slots'
 * interrupts are wired, and the ISA devices. The fixed registers are in the FADT and the
 * processors in an SSDT (vmm/dev/acpi.c).
 */
DefinitionBlock ("", "DSDT", 2, "UMBRA", "UMBRAPC", 0x00000001)
{
	/* SLP_TYP of S5, the only sleeping state: ACPI_S5_TYPE in vmm/dev/acpi_pm.c. */
	Name (\_S5, Package () { 0x05, 0x05, Zero, Zero })

	/* 0: the operating system uses the 8259 pair; 1: the I/O APIC. */
	Name (PICM, Zero)
	Method (\_PIC, 1, NotSerialized)
	{
		PICM = Arg0
	}

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, Zero)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0x0000, 0x0000, 0x0000, 0x0000, 0x0001)
				IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					EntireRange, 0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					EntireRange, 0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite, 0x00000000,
					0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000)
			})

			/*
			 * INTA to INTD of each slot, every slot's turned by one against the one
			 * before: to I/O APIC inputs 16 to 19, or IRQ 10 and 11.
			 */
			Method (_PRT, 0, NotSerialized)
			{
				Local0 = Package (0x80) {}
				Local1 = Zero
				While (Local1 < 0x80)
				{
					Local2 = ((Local1 >> 2) + Local1) & 3
					Local3 = Package (4) { Zero, Zero, Zero, Zero }
					Local3[0] = ((Local1 >> 2) << 16) | 0xFFFF
					Local3[1] = Local1 & 3
					If (PICM)
					{
						Local3[3] = 16 + Local2
					}
					Else
					{
						Local3[3] = 10 + (Local2 & 1)
					}
					Local0[Local1] = Local3
					Local1++
				}
				Return (Local0)
			}

			Device (PIC)
			{
				Name (_HID, EisaId ("PNP0000"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x0020, 0x0020, 0x01, 0x02)
					IO (Decode16, 0x00A0, 0x00A0, 0x01, 0x02)
					IO (Decode16, 0x04D0, 0x04D0, 0x01, 0x02)
					IRQNoFlags () { 2 }
				})
			}

			Device (TMR)
			{
				Name (_HID, EisaId ("PNP0100"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
					IRQNoFlags () { 0 }
				})
			}

			/* There with an I/O APIC only: without, its addresses read as ones. */
			Device (HPET)
			{
				Name (_HID, EisaId ("PNP0103"))
				OperationRegion (HREG, SystemMemory, 0xFED00000, 0x08)
				Field (HREG, DWordAcc, NoLock, Preserve)
				{
					HCAP, 32
				}
				Method (_STA, 0, NotSerialized)
				{
					If (HCAP == 0xFFFFFFFF)
					{
						Return (Zero)
					}
					Return (0x0F)
				}
				Name (_CRS, ResourceTemplate ()
				{
					Memory32Fixed (ReadWrite, 0xFED00000, 0x00000400)
				})
			}

			Device (RTC)
			{
				Name (_HID, EisaId ("PNP0B00"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
					IRQNoFlags () { 8 }
				})
			}

			Device (KBD)
			{
				Name (_HID, EisaId ("PNP0303"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x0060, 0x0060, 0x01, 0x01)
					IO (Decode16, 0x0064, 0x0064, 0x01, 0x01)
					IRQNoFlags () { 1 }
				})
			}

			Device (COM1)
			{
				Name (_HID, EisaId ("PNP0501"))
				Name (_UID, One)
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
					IRQNoFlags () { 4 }
				})
			}

			Device (COM2)
			{
				Name (_HID, EisaId ("PNP0501"))
				Name (_UID, 0x02)
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x02F8, 0x02F8, 0x01, 0x08)
					IRQNoFlags () { 3 }
				})
			}

			/* Ports of the board itself: B, A, power management. */
			Device (MBRD)
			{
				Name (_HID, EisaId ("PNP0C02"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x0061, 0x0061, 0x01, 0x01)
					IO (Decode16, 0x0080, 0x0080, 0x01, 0x01)
					IO (Decode16, 0x0092, 0x0092, 0x01, 0x01)
					IO (Decode16, 0x0600, 0x0600, 0x01, 0x0C)
				})
			}
		}
	}
}
