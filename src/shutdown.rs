//! The one stop signal and the wait for the tasks that heard it. Knows no room.
