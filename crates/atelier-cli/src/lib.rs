//! `atelier chat`, `login`, `user` and `token`: the API client for terminals.
