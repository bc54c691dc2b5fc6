//! SQL, rows, migrations, coordination and sealing of secrets.
