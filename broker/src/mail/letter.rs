//! What a letter says.

use lettre::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message};
use uuid::Uuid;

/// The longest line that mail servers pass on.
const LINE_MAX: usize = 998;

/// Why somebody is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody lets them in.
    Invitation,
    /// An admin has taken their password away.
    ResetByAdmin,
    /// Somebody, likely they themselves, wants another password for their account.
    Reset,
}

/// A letter to one person about one organization.
#[derive(Clone, Copy)]
pub struct Letter<'a> {
    pub occasion: Occasion,
    pub organization: &'a str,
    pub email: &'a str,
    /// Opens the account once: in the letter, and in no log.
    pub token: &'a str,
    pub good_for: &'static str,
}

impl Letter<'_> {
    /// As it is sent. None: no mail could go to that address.
    pub(super) fn message(&self, from: &Mailbox, link_url: Option<&str>) -> Option<Message> {
        let to: Address = self.email.parse().ok()?;
        let id = format!("<{}@{}>", Uuid::new_v4().simple(), from.email.domain());
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        Message::builder()
            .from(from.clone())
            // An address without a name: whoever chose the name could have written anything.
            .to(Mailbox::new(None, to))
            .subject(self.subject())
            .message_id(Some(id))
            .raw_header(automatic)
            .header(ContentType::TEXT_PLAIN)
            .body(as_it_is(self.text(link_url)))
            .ok()
    }

    fn subject(&self) -> &'static str {
        match self.occasion {
            Occasion::Invitation => "An invitation to EventFlow",
            Occasion::ResetByAdmin | Occasion::Reset => "Your password for EventFlow",
        }
    }

    fn text(&self, link_url: Option<&str>) -> String {
        // Operators may give names that nobody could register.
        let (organization, email) = (self.organization.escape_debug(), self.email);
        let (why, command, page, otherwise) = match self.occasion {
            Occasion::Invitation => (
                format!(
                    "An admin of the organization\n\n    {organization}\n\nof an EventFlow broker has made an account for"
                ),
                "eventflow accept",
                "accept-invitation",
                "If you do not know them, do nothing: without a password of yours nobody can\nuse the account.",
            ),
            Occasion::ResetByAdmin => (
                format!(
                    "An admin of the organization\n\n    {organization}\n\nof an EventFlow broker has reset the password of"
                ),
                "eventflow accept",
                "accept-invitation",
                "Until you have set another password, nobody can sign in to the account.",
            ),
            Occasion::Reset => (
                format!(
                    "Somebody, likely you, wants another password in the organization\n\n    {organization}\n\nof an EventFlow broker for"
                ),
                "eventflow password reset",
                "reset-password",
                "If it was not you, do nothing: your password stays as it is.",
            ),
        };
        let (token, good_for) = (self.token, self.good_for);
        let link = link_url.map(|url| format!("\nor open\n\n    {url}/{page}#{token}\n")).unwrap_or_default();
        format!(
            "{why}\n\n    {email}\n\nTo set your password, run\n\n    {command}\n\nand give it this token when it asks:\n\n    \
             {token}\n{link}\nThe token works once, for {good_for}.\n\n{otherwise}\n"
        )
    }
}

/// Without an encoding that folds long lines, so that a link stays one; names in other letters need one.
fn as_it_is(text: String) -> Body {
    let plain = text.is_ascii() && !text.contains(['\0', '\r']) && text.lines().all(|line| line.len() <= LINE_MAX);
    if !plain {
        return Body::new(text);
    }
    let lines = text.replace('\n', "\r\n").into_bytes();
    Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(letter: &Letter<'_>, link_url: Option<&str>) -> Option<String> {
        let from: Mailbox = "EventFlow <no-reply@example.com>".parse().expect("an address");
        let message = letter.message(&from, link_url)?;
        Some(String::from_utf8(message.formatted()).expect("text").replace("\r\n", "\n"))
    }

    const LETTER: Letter<'_> = Letter {
        occasion: Occasion::Reset,
        organization: "acme",
        email: "ada@example.com",
        token: "ef_reset_0123456789012345678901234567890123456789012",
        good_for: "30 minutes",
    };

    #[test]
    fn a_letter_names_account_token_and_what_to_do() {
        let mail = sent(&LETTER, Some("https://console.example.com")).expect("a letter");
        for line in [
            "From: EventFlow <no-reply@example.com>",
            "To: ada@example.com",
            "Subject: Your password for EventFlow",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
            "    acme",
            "    eventflow password reset",
            "    ef_reset_0123456789012345678901234567890123456789012",
            "The token works once, for 30 minutes.",
        ] {
            assert!(mail.lines().any(|found| found == line), "`{line}` is not in\n{mail}");
        }
        assert!(mail.contains(&format!("https://console.example.com/reset-password#{}", LETTER.token)), "{mail}");
        let invited = sent(&Letter { occasion: Occasion::Invitation, ..LETTER }, None).expect("a letter");
        assert!(invited.contains("    eventflow accept\n") && !invited.contains("http"), "{invited}");
    }

    #[test]
    fn no_address_and_no_name_of_an_organization_adds_a_header() {
        let head = |mail: &str| mail.split("\n\n").next().expect("a head").lines().count();
        let lines = head(&sent(&LETTER, None).expect("a letter"));
        for email in [
            "ada@example.com\nBcc: eve@example.com",
            "ada@example.com\r\nBcc: eve@example.com",
            "\"ada\r\nBcc: eve\"@example.com",
            "ada@example.com, eve@example.com",
            "ada@example.com> <eve@example.com",
            "ada@exa\0mple.com",
            "@",
        ] {
            assert!(sent(&Letter { email, ..LETTER }, None).is_none(), "{email:?} got a letter");
        }
        for email in ["\"a b\"@example.com", "ädä@exämple.com", "<ada@example.com>"] {
            let Some(mail) = sent(&Letter { email, ..LETTER }, None) else { continue };
            assert_eq!(head(&mail), lines, "{mail}");
        }
        let mail = sent(&Letter { organization: "acme\r\n\r\nPay here: x\n.\n", ..LETTER }, None).expect("a letter");
        assert_eq!(head(&mail), lines);
        assert!(!mail.lines().any(|line| line.starts_with("Pay here") || line == "."), "{mail}");
    }
}
