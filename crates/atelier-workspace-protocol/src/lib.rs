//! Requests and answers between the server and the workspace agent.
