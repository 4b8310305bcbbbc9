"""Many networks of one architecture, a member in each lane of the processor's registers."""
