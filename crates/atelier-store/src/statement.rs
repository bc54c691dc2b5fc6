//! Statements, declared where they are used and known to the test that prepares each on both engines.

/// One statement. Most have one text for both engines; the exceptions have two, side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// The text of a statement that an engine has no use for.
pub(crate) const ABSENT: &str = "";

/// An insert of several rows for SQLite, put together of texts of the program only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValuesInsert {
    pub(crate) head: &'static str,
    /// `(?, ?, ...)`, once a row.
    pub(crate) row: &'static str,
    pub(crate) tail: &'static str,
}

/// Declares statements and lists them in `STATEMENTS` of the module.
///
/// ```text
/// statements! {
///     CHAT_GET = "SELECT ...";
///     CHAT_LOCK = { sqlite: "SELECT ...", postgres: "SELECT ... FOR UPDATE" };
///     LEASE_RENEW = { postgres: "UPDATE ..." };
/// }
/// ```
macro_rules! statements {
    (@one $name:ident { sqlite: $sqlite:expr, postgres: $postgres:expr $(,)? }) => {
        $crate::statement::Statement { name: stringify!($name), sqlite: $sqlite, postgres: $postgres }
    };
    // what only several replicas need
    (@one $name:ident { postgres: $postgres:expr $(,)? }) => {
        $crate::statement::Statement { name: stringify!($name), sqlite: $crate::statement::ABSENT, postgres: $postgres }
    };
    (@one $name:ident $text:expr) => {
        $crate::statement::Statement { name: stringify!($name), sqlite: $text, postgres: $text }
    };
    ($($name:ident = $text:tt;)*) => {
        $(const $name: $crate::statement::Statement = statements!(@one $name $text);)*
        /// Every statement of this module.
        pub(crate) const STATEMENTS: &[$crate::statement::Statement] = &[$($name),*];
    };
}
pub(crate) use statements;
