//! What the gate's argument takes for granted of a server, measured on this one.

use super::*;
