//! The MySQL wire format: packets, handshakes, responses and where a response ends. Knows no SQL, no config and no socket of ours.
