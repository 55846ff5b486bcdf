import Model
import Recordings
import Testing

@Suite("Reading the tables beside recordings")
struct LabelFilesTests {
    @Test("the samples have the counts their sources state")
    func counts() throws {
        let sample = RecordingReaderTests.sample
        let faults = try LabelFiles.faults(at: sample("services-nezha/2022-08-22/faults.csv"))
        #expect(faults.count == 24)
        #expect(
            faults.first
                == RecordedFault(
                    injectedAt: Timestamp(milliseconds: 1_661_140_434_000), rootCause: "frontend",
                    fault: "cpu_contention"))
        #expect(try LabelFiles.calls(at: sample("services-nezha/2022-08-22/graph.csv")).count == 26)
        let cases = try LabelFiles.cases(at: sample("services-petshop/low_traffic/cases.csv"))
        #expect(cases.count == 26)
        #expect(cases.allSatisfy { $0.first < $0.last && $0.targetEvent == "PetSite" })
        #expect(try LabelFiles.labels(at: sample("labelled-asd/labels.csv")).count == 7)
        #expect(try LabelFiles.entities(at: sample("labelled-asd/entities.csv")).map(\.entity) == ["omi-1"])
    }

    @Test("a table with other columns is refused")
    func wrongTable() {
        #expect(throws: RecordingError.self) {
            _ = try LabelFiles.faults(at: RecordingReaderTests.sample("services-nezha/2022-08-22/graph.csv"))
        }
    }
}
