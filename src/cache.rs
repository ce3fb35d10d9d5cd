//! The result cache: raw response packets keyed by everything that can change a byte. Never serves without the gate.
