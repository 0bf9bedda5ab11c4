"""Where a FHIR resource names its patient: one path a type, so that no resource is counted twice.

The patient compartment of FHIR R4 (4.0.1, compartmentdefinition-patient) has several paths for some types: the author
of a document may be a patient, too. Here is the one that tells whose record it is. Device is in no compartment of R4,
but bulk exports have the devices of a patient. Types that are not listed have no patient: an Organization, say.

A path is the keys from the resource to a Reference, with dots between. Where a key holds a list, the first reference to
a Patient counts. `id` is the resource's own.
"""

from __future__ import annotations

__all__ = ["PATHS_TEXT", "PATIENT_PATHS"]

_TYPES_OF = {
    "id": "Patient",
    "patient": """
        AllergyIntolerance Claim ClaimResponse Consent CoverageEligibilityRequest CoverageEligibilityResponse
        BodyStructure DetectedIssue Device EpisodeOfCare ExplanationOfBenefit FamilyMemberHistory Immunization
        ImmunizationEvaluation ImmunizationRecommendation MolecularSequence NutritionOrder RelatedPerson SupplyDelivery
        VisionPrescription
    """,
    "subject": """
        Account AdverseEvent Basic CarePlan CareTeam ChargeItem ClinicalImpression Communication CommunicationRequest
        Composition Condition DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference
        Encounter Flag Goal GuidanceResponse ImagingStudy Invoice List MeasureReport Media MedicationAdministration
        MedicationDispense MedicationRequest MedicationStatement Observation Procedure QuestionnaireResponse
        RequestGroup RiskAssessment ServiceRequest Specimen
    """,
    "beneficiary": "Coverage",
    "individual": "ResearchSubject",
    "candidate": "EnrollmentRequest",
    "participant.actor": "Appointment",
    "actor": "AppointmentResponse",
}

PATIENT_PATHS = {name: path for path, names in _TYPES_OF.items() for name in names.split()}
"""The path of each resource type to its patient."""

PATHS_TEXT = "".join(f"{name} {path}\n" for name, path in PATIENT_PATHS.items())
"""The same for the native tally."""
