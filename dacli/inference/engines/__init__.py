"""The engines that run a network on a device, and the table of them."""
