//! The outcome of an action, and the type of actor that performed it. Both are optional in an entry.

use super::{Invalid, did_you_mean, quoted};

/// An enum whose values have public names, and codes in the database. An absent value has the code 0.
macro_rules! coded_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $code,)+
        }

        impl $name {
            /// All values, by code.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The public name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Reads a public name. Errors list all names.
            pub fn parse(name: &str) -> Result<Self, Invalid> {
                let found = Self::ALL.iter().copied().find(|one| one.name() == name);
                found.ok_or_else(|| unknown(name, Self::ALL.iter().map(|one| one.name())))
            }

            /// Reads a public name; the empty string is `None`.
            pub fn optional(name: &str) -> Result<Option<Self>, Invalid> {
                (!name.is_empty()).then(|| Self::parse(name)).transpose()
            }

            /// The code in the database.
            pub(crate) fn code(value: Option<Self>) -> i16 {
                value.map_or(0, |value| value as i16)
            }

            /// Reads a code from the database. Errors: this program never stored it.
            pub(crate) fn stored(code: i16) -> Result<Option<Self>, Invalid> {
                let found = Self::ALL.iter().copied().find(|one| *one as i16 == code);
                match (code, found) {
                    (0, _) => Ok(None),
                    (_, Some(value)) => Ok(Some(value)),
                    (code, None) => Err(Invalid::new("must be a known code", code)),
                }
            }
        }
    };
}

coded_enum! {
    /// The outcome of an action.
    Outcome {
        /// The action was done.
        Success = 1, "success";
        /// The action was tried and failed.
        Failure = 2, "failure";
        /// The action was refused.
        Denied = 3, "denied";
    }
}

coded_enum! {
    /// The type of actor that the user id of an entry names.
    ActorType {
        /// A person.
        User = 1, "user";
        /// Another service, or a script with a key of its own.
        Service = 2, "service";
        /// The writing service itself.
        System = 3, "system";
        /// Somebody without an identity.
        Anonymous = 4, "anonymous";
    }
}

fn unknown(name: &str, known: impl Iterator<Item = &'static str> + Clone) -> Invalid {
    let listed = known.clone().collect::<Vec<_>>().join(", ");
    Invalid::new(format_args!("must be one of {listed}"), format_args!("{}{}", quoted(name), did_you_mean(name, known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_can_be_read_back() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::parse(outcome.name()), Ok(*outcome));
            assert_eq!(Outcome::stored(Outcome::code(Some(*outcome))), Ok(Some(*outcome)));
        }
        for actor in ActorType::ALL {
            assert_eq!(ActorType::parse(actor.name()), Ok(*actor));
            assert_eq!(ActorType::stored(ActorType::code(Some(*actor))), Ok(Some(*actor)));
        }
        assert_eq!((Outcome::stored(Outcome::code(None)), Outcome::optional("")), (Ok(None), Ok(None)));
        let refused = Outcome::parse("sucess").expect_err("a slip of the pen");
        assert_eq!(refused.0, "must be one of success, failure, denied, got \"sucess\"; did you mean success?");
        assert!(Outcome::stored(4).is_err());
    }
}
