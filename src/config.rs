//! What the operator wrote, validated once: values with units, passed in as a handle. Reads files; never opens a socket.
