//! Sleep and wake by address, which `rux_machine::cold` asks for.
