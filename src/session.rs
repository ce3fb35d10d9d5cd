//! One client connection: log in, read a command, answer it, until quit. The only room that holds a client socket and a backend connection at once.
