//! The program inside a workspace: files, processes, tunnel.
