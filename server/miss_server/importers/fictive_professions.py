"""Professions and specialities for fictive people, with the register's codes and labels.

Codes and labels follow the national nomenclatures of professions (TRE_G15) and of ordinal
specialities (TRE_R38); weights are a plausible distribution, nothing official.
"""

from typing import NamedTuple


class Profession(NamedTuple):
    """A profession; `weight` is its share in a thousand."""

    code: str
    label: str
    weight: int


class Speciality(NamedTuple):
    """A doctor's speciality; `weight` is its share in a thousand."""

    code: str
    label: str
    weight: int


DOCTOR = Profession("10", "Médecin", 240)
PHARMACIST = Profession("21", "Pharmacien", 80)
NURSE = Profession("60", "Infirmier", 400)
PROFESSIONS = (
    DOCTOR,
    PHARMACIST,
    NURSE,
    Profession("40", "Chirurgien-dentiste", 50),
    Profession("50", "Sage-femme", 30),
    Profession("70", "Masseur-kinésithérapeute", 110),
    Profession("80", "Pédicure-podologue", 18),
    Profession("91", "Orthophoniste", 32),
    Profession("92", "Orthoptiste", 8),
    Profession("94", "Ergothérapeute", 14),
    Profession("96", "Psychomotricien", 12),
    Profession("98", "Manipulateur ERM", 6),
)

GENERAL = Speciality("SM54", "Médecine Générale", 330)
CARDIOLOGY = Speciality("SM04", "Cardiologie et maladies vasculaires", 35)
SPECIALITIES = (
    GENERAL,
    CARDIOLOGY,
    Speciality("SM26", "Qualifié en Médecine Générale", 90),
    Speciality("SM53", "Spécialiste en Médecine Générale", 60),
    Speciality("SM02", "Anesthésie-réanimation", 50),
    Speciality("SM08", "Chirurgie orthopédique et traumatologie", 18),
    Speciality("SM15", "Dermatologie et vénéréologie", 20),
    Speciality("SM18", "Gériatrie", 15),
    Speciality("SM20", "Gynécologie-obstétrique", 28),
    Speciality("SM24", "Gastro-entérologie et hépatologie", 20),
    Speciality("SM32", "Neurologie", 15),
    Speciality("SM38", "Ophtalmologie", 30),
    Speciality("SM40", "Pédiatrie", 42),
    Speciality("SM41", "Pneumologie", 17),
    Speciality("SM42", "Psychiatrie", 70),
    Speciality("SM44", "Radio-diagnostic", 45),
    Speciality("SM48", "Rhumatologie", 14),
    Speciality("SM59", "Médecine d'urgence", 20),
)
ADVANCED_NURSE = Speciality("SI01", "Pratique avancée en pathologies chroniques stabilisées", 10)
